//! How sure a number of failures makes us. Plain functions over counts.
//!
//! Whether a rate is worse than usual is asked after every verdict, so a test for one look at the data would halt good releases
//! sooner or later. [`evidence`] may be looked at as often as one likes: it is a mixture of Wald's sequential probability ratios
//! (*Sequential Tests of Statistical Hypotheses*, 1945) over a few worse rates. While the true rate is no worse than usual it is a
//! non-negative supermartingale that begins at 1, so by Ville's inequality it ever reaches 1/α with a probability of at most α
//! (Robbins, *Statistical Methods Related to the Law of the Iterated Logarithm*, 1970).

/// Rates that are looked for, and how much each is expected; the weights sum to one.
pub type Worse = [(f64, f64)];

/// Of images that fail and say so.
pub const FAILURES: [(f64, f64); 4] = [(0.02, 0.10), (0.05, 0.50), (0.30, 0.30), (0.90, 0.10)];
/// Of boxes that fall silent: a few, a third, or all.
pub const SILENCES: [(f64, f64); 3] = [(0.05, 0.30), (0.30, 0.30), (0.99, 0.40)];

/// How much likelier `failed` of `of` is under a worse rate than under the usual one; 1 says nothing.
pub fn evidence(failed: u32, of: u32, usual: f64, worse: &Worse) -> f64 {
    let (failed, passed) = (f64::from(failed), f64::from(of.saturating_sub(failed)));
    let likelier = |rate: f64| failed * (rate / usual).ln() + passed * ((1.0 - rate) / (1.0 - usual)).ln();
    // A rate that is no worse than usual is no alternative: it adds what says nothing.
    worse.iter().map(|&(rate, weight)| if rate > usual { weight * likelier(rate).exp() } else { weight }).sum()
}

/// The chance of at most `failed` of `of` at a rate.
pub fn chance_of_at_most(failed: u32, of: u32, rate: f64) -> f64 {
    if failed >= of || rate <= 0.0 {
        return 1.0;
    }
    if rate >= 1.0 {
        return 0.0;
    }
    let term = |count: u32| {
        let (k, rest) = (f64::from(count), f64::from(of - count));
        (ln_choose(of, count) + k * rate.ln() + rest * (1.0 - rate).ln()).exp()
    };
    (0..=failed).map(term).sum::<f64>().min(1.0)
}

/// The highest rate that `failed` of `of` does not rule out with 95 % confidence (Clopper and Pearson, 1934).
pub fn upper_bound(failed: u32, of: u32) -> f64 {
    if failed >= of {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    // Each step halves what is unknown: forty leave 10⁻¹².
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if chance_of_at_most(failed, of, middle) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The chance that a group of `of` has `bad` or more of all bad ones when nothing but chance decided who is in it (Fisher's exact
/// test, one-sided). `other_bad` of `other_of` are in the other group.
pub fn chance_of_a_worse_share(bad: u32, of: u32, other_bad: u32, other_of: u32) -> f64 {
    let (all, all_bad) = (of + other_of, bad + other_bad);
    let most = all_bad.min(of);
    let term = |count: u32| {
        if all_bad - count > other_of {
            return 0.0;
        }
        (ln_choose(of, count) + ln_choose(other_of, all_bad - count) - ln_choose(all, all_bad)).exp()
    };
    (bad..=most).map(term).sum::<f64>().min(1.0)
}

/// The logarithm of the number of ways to pick `count` of `of`.
fn ln_choose(of: u32, count: u32) -> f64 {
    ln_factorial(of) - ln_factorial(count) - ln_factorial(of.saturating_sub(count))
}

/// Summed up where that is quick; from there Stirling's series, whose error at 64 is below 10⁻¹².
fn ln_factorial(of: u32) -> f64 {
    if of < 64 {
        return (2..=of).map(|factor| f64::from(factor).ln()).sum();
    }
    let n = f64::from(of);
    n * n.ln() - n + (std::f64::consts::TAU * n).ln() / 2.0 + 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3))
        + 1.0 / (1260.0 * n.powi(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, expected: f64) {
        assert!((got - expected).abs() <= expected.abs() * 1e-6, "{got} instead of {expected}");
    }

    #[test]
    fn the_weights_are_a_mixture() {
        near(FAILURES.iter().map(|rate| rate.1).sum(), 1.0);
        near(SILENCES.iter().map(|rate| rate.1).sum(), 1.0);
    }

    #[test]
    fn evidence_is_a_martingale_where_the_rate_is_usual() {
        for (failed, of) in [(0, 0), (0, 40), (3, 10), (9, 700)] {
            let here = evidence(failed, of, 0.005, &FAILURES);
            let next = 0.005 * evidence(failed + 1, of + 1, 0.005, &FAILURES)
                + 0.995 * evidence(failed, of + 1, 0.005, &FAILURES);
            near(next, here);
        }
        near(evidence(0, 0, 0.005, &FAILURES), 1.0);
    }

    #[test]
    fn two_silent_boxes_of_two_are_strong_evidence_and_one_is_not() {
        assert!(evidence(1, 1, 0.003, &SILENCES) < 200.0);
        assert!(evidence(2, 2, 0.003, &SILENCES) > 10_000.0);
        assert!(evidence(2, 300, 0.003, &SILENCES) < 1.0);
    }

    #[test]
    fn chances_are_those_of_the_tables() {
        // No failure: the rule of three, exactly 1 − 0.05^(1/n).
        near(upper_bound(0, 29), 1.0 - 0.05f64.powf(1.0 / 29.0));
        near(upper_bound(3, 3), 1.0);
        // 1 − 0.9^10 − 10 × 0.1 × 0.9^9 = 0.2639…
        near(1.0 - chance_of_at_most(1, 10, 0.1), 0.263_901_070_9);
        near(chance_of_at_most(500, 1000, 0.5), 0.512_612_509);
        // Fisher's tea: all four of four right has one chance in seventy.
        near(chance_of_a_worse_share(4, 4, 0, 4), 1.0 / 70.0);
        near(chance_of_a_worse_share(0, 4, 4, 4), 1.0);
        near(chance_of_a_worse_share(3, 4, 1, 4), 17.0 / 70.0);
    }

    #[test]
    fn the_series_meets_the_sum() {
        let summed: f64 = (2..=200u32).map(|factor| f64::from(factor).ln()).sum();
        near(ln_factorial(200), summed);
        near(ln_factorial(64) - ln_factorial(63), 64f64.ln());
    }
}
