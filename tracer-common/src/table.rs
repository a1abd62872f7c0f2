//! How the kernel side's tables are laid out: a map of keys, in sets, beside a map of values with a
//! slot for each key. A key may be in either of two sets, so that nearly all slots can be used
//! before one finds no room.

/// Keys of a set: a cache line.
pub const WAYS: u32 = 8;

/// Slots of `*_KEYS`: a set of keys each, 0 where there is none.
pub type Keys = [u64; WAYS as usize];

/// Sets of a table that has room for `entries` without fail, and for half as many again with luck.
pub const fn sets(entries: u32) -> u32 {
    entries.saturating_add(entries / 2).div_ceil(WAYS)
}

/// Odd, and of no pattern.
const MIX: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93];

/// The two sets of a table of `sets` that may have `key`: by the two halves of its hash.
#[inline(always)]
pub const fn sets_of(key: u64, sets: u32) -> [u32; 2] {
    let hash = key.wrapping_mul(MIX[0]);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(MIX[1]);
    let hash = hash ^ (hash >> 32);
    [scaled(hash >> 32, sets), scaled(hash & 0xffff_ffff, sets)]
}

/// 32 bits, brought below `sets` without a division.
#[inline(always)]
const fn scaled(hash: u64, sets: u32) -> u32 {
    ((hash * sets as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::{WAYS, sets, sets_of};

    /// As the kernel side chooses: the first set, unless it is half full and the second has more room.
    fn fill(keys: impl Iterator<Item = u64>, sets: u32) -> Result<Vec<u32>, usize> {
        let mut taken = vec![0; sets as usize];
        for (count, key) in keys.enumerate() {
            let [first, second] = sets_of(key, sets).map(|set| set as usize);
            let crowded = taken[first] >= WAYS / 2 && taken[second] < taken[first];
            let set = if crowded { second } else { first };
            if taken[set] == WAYS {
                return Err(count);
            }
            taken[set] += 1;
        }
        Ok(taken)
    }

    /// Addresses of sockets: slabs of 32 KiB with 13 of them, in an order that matters no more.
    fn addresses(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|n| 0xffff_8881_0000_0000 + (n / 13) * 0x8000 + (n % 13) * 2432)
    }

    #[test]
    fn there_is_room_for_all_that_it_is_made_for() {
        for entries in [1_000, 20_000, 131_072, 500_000] {
            let filled = fill(addresses(entries), sets(entries as u32));
            assert!(filled.is_ok(), "{entries}: full after {filled:?}");
        }
    }

    #[test]
    fn pairs_of_sequence_numbers_are_spread_too() {
        let keys = (0..131_072_u64).map(|n| n.wrapping_mul(0x5851_f42d_4c95_7f2d) | 1);
        assert!(fill(keys, sets(131_072)).is_ok());
    }

    #[test]
    fn the_smallest_table_has_a_set() {
        assert_eq!(sets(1), 1);
        assert_eq!(sets_of(u64::MAX, 1), [0, 0]);
    }
}
