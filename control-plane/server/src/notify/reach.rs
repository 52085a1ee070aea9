//! Which addresses a URL that a customer typed may lead to: none of ours. Without this, a webhook is a way into the network that
//! the control plane stands in (server-side request forgery).
//!
//! The address is looked at after the name was looked up, and this very address is connected to, so a name that changes its mind
//! in between (DNS rebinding) gains nothing. The list is that of the IANA special-purpose address registries
//! (RFC 6890, https://www.iana.org/assignments/iana-ipv4-special-registry, …-ipv6-special-registry).

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Not the public Internet.
const V4: &[([u8; 4], u8)] = &[
    ([0, 0, 0, 0], 8),       // this network
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // shared by a provider's customers
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local; clouds keep credentials there
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 88, 99, 0], 24),  // 6to4 relays
    ([192, 168, 0, 0], 16),  // private
    ([198, 18, 0, 0], 15),   // benchmarks
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 3),     // multicast, reserved, broadcast
];

/// Whether a webhook may be sent to this address; `allowed` are networks that the operator of this server named.
pub(crate) fn may_reach(address: IpAddr, allowed: &[IpNet]) -> bool {
    let inner = match address {
        IpAddr::V4(inner) => Some(inner),
        IpAddr::V6(outer) => embedded(outer),
    };
    let named = |address: IpAddr| allowed.iter().any(|network| network.contains(&address));
    if named(address) || inner.is_some_and(|inner| named(IpAddr::V4(inner))) {
        return true;
    }
    match (address, inner) {
        (_, Some(inner)) => !V4.iter().any(|(network, bits)| contains_v4(*network, *bits, inner)),
        (IpAddr::V6(outer), None) => is_global_v6(outer),
        (IpAddr::V4(_), None) => false,
    }
}

fn contains_v4(network: [u8; 4], bits: u8, address: Ipv4Addr) -> bool {
    Ipv4Net::new(network.into(), bits).is_ok_and(|network| network.contains(&address))
}

fn in_v6(network: [u16; 8], bits: u8, address: Ipv6Addr) -> bool {
    Ipv6Net::new(network.into(), bits).is_ok_and(|network| network.contains(&address))
}

/// The IPv4 address that an IPv6 address stands for: mapped, translated (NAT64), 6to4.
fn embedded(outer: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = outer.octets();
    let four = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    let mapped = in_v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, outer);
    let translated = in_v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, outer);
    if mapped || translated { Some(four(12)) } else { in_v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, outer).then(|| four(2)) }
}

/// Global unicast is 2000::/3, less what is set apart in it.
fn is_global_v6(address: Ipv6Addr) -> bool {
    in_v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, address)
        && !in_v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, address) // Teredo, ORCHID, benchmarks
        && !in_v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, address) // documentation
        && !in_v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, address) // documentation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_reached() {
        for public in [
            "1.1.1.1",
            "93.184.215.14",
            "172.15.255.255",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
        ] {
            assert!(may_reach(public.parse().expect("an address"), &[]), "{public}");
        }
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "100::1",
            "::127.0.0.1",
        ] {
            assert!(!may_reach(inside.parse().expect("an address"), &[]), "{inside}");
        }
    }

    #[test]
    fn an_operator_may_name_networks_of_his_own() {
        let allowed = ["10.1.0.0/16".parse().expect("a network"), "fd00::/8".parse().expect("a network")];
        for named in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"] {
            assert!(may_reach(named.parse().expect("an address"), &allowed), "{named}");
        }
        for other in ["10.2.0.1", "127.0.0.1", "fe80::1"] {
            assert!(!may_reach(other.parse().expect("an address"), &allowed), "{other}");
        }
    }
}
