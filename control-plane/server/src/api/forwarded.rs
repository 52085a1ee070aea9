//! Who asks, where a proxy passes on what people ask: the address that it wrote down, if it is a proxy of ours, or else that of the
//! connection. Wrong passwords are counted by it.

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The header that proxies write; the one that we believe appends to it.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Before everything that asks for the address.
pub(super) async fn see_through(State(proxies): State<Arc<[IpNet]>>, mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        let address = who(peer.ip(), request.headers(), &proxies);
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address, peer.port())));
    }
    next.run(request).await
}

/// The last address that was not written by a proxy of ours: what stands before it, whoever asked may have written himself.
fn who(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let ours = |address: &IpAddr| proxies.iter().any(|network| network.contains(&address.to_canonical()));
    if !ours(&peer) {
        return peer;
    }
    let words =
        headers.get_all(FORWARDED_FOR).iter().rev().flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    let mut last = peer;
    for word in words {
        // What is no address was not written by a proxy, and neither was what stands before it.
        let Ok(address) = word.trim().parse::<IpAddr>() else { return last };
        last = address;
        if !ours(&address) {
            return address;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn asked(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).expect("a line"));
        }
        let proxies = ["10.0.0.2/32", "fd00::/64"].map(|network| network.parse().expect("a network"));
        who(peer.parse().expect("an address"), &headers, &proxies).to_string()
    }

    #[test]
    fn a_proxy_of_ours_says_who_asks() {
        assert_eq!(asked("10.0.0.2", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(asked("::ffff:10.0.0.2", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(asked("10.0.0.2", &["2001:db8::1"]), "2001:db8::1");
        // Two of them, one behind the other.
        assert_eq!(asked("10.0.0.2", &["203.0.113.9, fd00::7"]), "203.0.113.9");
        assert_eq!(asked("10.0.0.2", &["203.0.113.9", "fd00::7"]), "203.0.113.9");
    }

    #[test]
    fn nobody_else_is_believed() {
        assert_eq!(asked("10.0.0.3", &["203.0.113.9"]), "10.0.0.3", "a stranger");
        assert_eq!(asked("10.0.0.2", &["198.51.100.1, 203.0.113.9"]), "203.0.113.9", "he wrote the first himself");
        assert_eq!(asked("10.0.0.2", &["198.51.100.1", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(asked("10.0.0.2", &[]), "10.0.0.2");
        for odd in ["", "unknown", "203.0.113.9:80", "203.0.113.9,", "198.51.100.1, \u{e9}"] {
            assert_eq!(asked("10.0.0.2", &[odd]), "10.0.0.2", "{odd:?}");
        }
    }
}
