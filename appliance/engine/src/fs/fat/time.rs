//! DOS dates and times as seconds since 1970. Months and days that do not exist count from the epoch instead.

/// `date` and `time` as both FAT and exFAT pack them, taken as UTC.
pub(in crate::fs) fn seconds(date: u16, time: u16) -> i64 {
    let (year, month, day) = (1980 + i64::from(date >> 9), i64::from(date >> 5 & 15), i64::from(date & 31));
    if !(1..=12).contains(&month) || day == 0 {
        return 0;
    }
    let (hours, minutes, seconds) = (i64::from(time >> 11), i64::from(time >> 5 & 63), i64::from(time & 31) * 2);
    days(year, month, day) * 86_400 + hours * 3600 + minutes * 60 + seconds
}

/// Days since 1970. The year is made to begin in March, so that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    // 719468 days lie between March 1 of year 0 and 1970.
    year * 365 + year / 4 - year / 100 + year / 400 + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let date = |year: u16, month: u16, day: u16| (year - 1980) << 9 | month << 5 | day;
        assert_eq!(seconds(date(1980, 1, 1), 0), 315_532_800);
        assert_eq!(seconds(date(2000, 2, 29), 23 << 11 | 59 << 5 | 29), 951_868_798);
        assert_eq!(seconds(date(2100, 3, 1), 0), 4_107_542_400);
        assert_eq!(seconds(0, 0), 0);
    }
}
