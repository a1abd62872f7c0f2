//! Community ID v1 (corelight/community-id-spec), TCP, seed 0: the hash by which other tools name
//! the same flow.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

use crate::event::values::CommunityId;

const PROTO_TCP: u8 = 6;

/// The same for both directions: the smaller endpoint goes first.
pub fn community_id(a: (IpAddr, u16), b: (IpAddr, u16)) -> CommunityId {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    // Seed, addresses, protocol, padding, ports.
    let mut input = [0; 2 + 2 * 16 + 2 + 2 * 2];
    let mut length = 2;
    let mut add = |bytes: &[u8]| {
        input[length..length + bytes.len()].copy_from_slice(bytes);
        length += bytes.len();
    };
    for (addr, _) in [low, high] {
        match addr {
            IpAddr::V4(addr) => add(&addr.octets()),
            IpAddr::V6(addr) => add(&addr.octets()),
        }
    }
    add(&[PROTO_TCP, 0]);
    add(&low.1.to_be_bytes());
    add(&high.1.to_be_bytes());
    let hash = Sha1::digest(&input[..length]);
    let mut text = [0; 30];
    text[..2].copy_from_slice(b"1:");
    // 20 bytes make 28 characters: the slice cannot be too short.
    let _ = STANDARD.encode_slice(hash, &mut text[2..]);
    CommunityId(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(a: &str, b: &str) -> String {
        let parse = |text: &str| {
            let addr: std::net::SocketAddr = text.parse().expect("an address");
            (addr.ip(), addr.port())
        };
        community_id(parse(a), parse(b)).as_str().to_owned()
    }

    /// Values of the specification's baseline and of its reference implementation.
    #[test]
    fn agrees_with_the_reference() {
        let v4 = "1:wCb3OG7yAFWelaUydu0D+125CLM=";
        assert_eq!(id("1.2.3.4:1122", "5.6.7.8:3344"), v4);
        assert_eq!(id("5.6.7.8:3344", "1.2.3.4:1122"), v4);
        assert_eq!(
            id("128.232.110.120:34855", "66.35.250.204:80"),
            "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
        );
    }
}
