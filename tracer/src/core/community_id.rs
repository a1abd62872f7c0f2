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
    let mut hash = Sha1::new();
    hash.update(0u16.to_be_bytes());
    for (addr, _) in [low, high] {
        match addr {
            IpAddr::V4(addr) => hash.update(addr.octets()),
            IpAddr::V6(addr) => hash.update(addr.octets()),
        }
    }
    hash.update([PROTO_TCP, 0]);
    hash.update(low.1.to_be_bytes());
    hash.update(high.1.to_be_bytes());
    let mut text = [0; 30];
    text[..2].copy_from_slice(b"1:");
    // 20 bytes make 28 characters: the slice cannot be too short.
    let _ = STANDARD.encode_slice(hash.finalize(), &mut text[2..]);
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
