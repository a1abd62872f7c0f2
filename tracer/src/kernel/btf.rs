//! A reader of BTF (`include/uapi/linux/btf.h`), as far as tracing needs it: where a field is, what
//! an enum's values are called, how many arguments a tracepoint has. aya-obj parses BTF too but
//! keeps members to itself.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

const MAGIC: u16 = 0xeb9f;

/// `BTF_KIND_*`.
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Depth at which a chain of types or nested structs is taken for a loop in broken data.
const MAX_DEPTH: usize = 32;

/// Members that a search looks at: ten times those of the largest struct. Anonymous structs within each other would else
/// keep it busy for ever in broken data.
const MAX_MEMBERS: usize = 65_536;

/// Where a field lies within its struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// From the start of the struct, in bits.
    pub bit_offset: u32,
    /// Width of a bitfield; 0 for an ordinary field.
    pub bitfield_bits: u32,
    /// Size of an integer, enum, struct or union; 0 for what has none of its own.
    pub bytes: u32,
}

impl Field {
    /// `None` when the field is beyond what an offset of the kernel side can hold.
    pub fn byte_offset(self) -> Option<u16> {
        u16::try_from(self.bit_offset / 8)
            .ok()
            .filter(|offset| *offset != u16::MAX)
    }

    /// The field's bit within its first byte, for a one-bit field.
    pub fn byte_mask(self) -> u8 {
        1 << (self.bit_offset % 8)
    }

    /// Of the four bytes from the field on, those that are the field.
    pub fn value_mask(self) -> u32 {
        match self.bytes {
            1 => 0xff,
            2 => 0xffff,
            _ => u32::MAX,
        }
    }
}

/// Parsed BTF: an index over the raw bytes.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Start of every type in `types`; id 0 is void.
    starts: Vec<u32>,
    /// First struct or typedef or enum of every name.
    by_name: HashMap<(u32, &'a [u8]), u32>,
}

#[derive(Clone, Copy)]
struct Type<'a> {
    kind: u32,
    kind_flag: bool,
    vlen: usize,
    /// Size or referenced type, by kind.
    size_or_type: u32,
    /// What follows the fixed part.
    tail: &'a [u8],
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

impl<'a> Btf<'a> {
    /// Indexes raw BTF, such as the content of `/sys/kernel/btf/vmlinux`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let word = |at| u32_at(bytes, at).context("the BTF header is cut short");
        ensure!(
            word(0)? as u16 == MAGIC,
            "no BTF: its first two bytes are not the magic number of this machine's byte order"
        );
        let header_bytes = word(4)? as usize;
        let section = |offset: u32, length: u32| {
            let start = header_bytes.checked_add(offset as usize)?;
            bytes.get(start..start.checked_add(length as usize)?)
        };
        let types = section(word(8)?, word(12)?).context("the BTF type section is cut short")?;
        let strings =
            section(word(16)?, word(20)?).context("the BTF string section is cut short")?;

        let mut btf = Btf {
            types,
            strings,
            starts: vec![0],
            by_name: HashMap::new(),
        };
        let mut at = 0;
        while at < types.len() {
            let id = btf.starts.len() as u32;
            let info = u32_at(types, at + 4).context("a BTF type is cut short")?;
            let name = u32_at(types, at).context("a BTF type is cut short")?;
            let kind = info >> 24 & 0x1f;
            if matches!(
                kind,
                kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::TYPEDEF | kind::FUNC
            ) {
                btf.by_name.entry((kind, btf.string(name))).or_insert(id);
            }
            btf.starts.push(at as u32);
            at += 12 + Self::tail_bytes(kind, (info & 0xffff) as usize)?;
        }
        Ok(btf)
    }

    fn tail_bytes(kind: u32, vlen: usize) -> Result<usize> {
        Ok(match kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => vlen * 12,
            kind::ENUM | kind::FUNC_PROTO => vlen * 8,
            1..=18 => 0,
            _ => bail!("BTF type kind {kind} is newer than this program"),
        })
    }

    fn string(&self, offset: u32) -> &'a [u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn get(&self, id: u32) -> Option<Type<'a>> {
        let start = *self.starts.get(id as usize).filter(|_| id != 0)? as usize;
        let info = u32_at(self.types, start + 4)?;
        Some(Type {
            kind: info >> 24 & 0x1f,
            kind_flag: info >> 31 != 0,
            vlen: (info & 0xffff) as usize,
            size_or_type: u32_at(self.types, start + 8)?,
            tail: self.types.get(start + 12..)?,
        })
    }

    /// Through typedefs and qualifiers to the type itself.
    fn strip(&self, mut id: u32) -> Option<Type<'a>> {
        for _ in 0..MAX_DEPTH {
            let ty = self.get(id)?;
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.size_or_type
                }
                _ => return Some(ty),
            }
        }
        None
    }

    /// Finds `path` (`a.b.c`, through embedded structs and anonymous members) in a struct or union.
    pub fn field(&self, strukt: &str, path: &str) -> Option<Field> {
        let id = self.by_name.get(&(kind::STRUCT, strukt.as_bytes()))?;
        let mut ty = self.get(*id)?;
        let mut found = Field {
            bit_offset: 0,
            bitfield_bits: 0,
            bytes: 0,
        };
        let mut left = MAX_MEMBERS;
        for part in path.split('.') {
            let (member, id) = self.member(ty, part.as_bytes(), 0, &mut left)?;
            found.bit_offset = found.bit_offset.checked_add(member.bit_offset)?;
            found.bitfield_bits = member.bitfield_bits;
            ty = self.strip(id)?;
        }
        if matches!(
            ty.kind,
            kind::INT | kind::ENUM | kind::ENUM64 | kind::STRUCT | kind::UNION
        ) {
            found.bytes = ty.size_or_type;
        }
        Some(found)
    }

    /// `left`: how many members may still be looked at.
    fn member(
        &self,
        ty: Type<'a>,
        name: &[u8],
        depth: usize,
        left: &mut usize,
    ) -> Option<(Field, u32)> {
        if depth > MAX_DEPTH || !matches!(ty.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for index in 0..ty.vlen {
            *left = left.checked_sub(1)?;
            let at = index * 12;
            let member_name = self.string(u32_at(ty.tail, at)?);
            let id = u32_at(ty.tail, at + 4)?;
            let raw = u32_at(ty.tail, at + 8)?;
            let field = if ty.kind_flag {
                Field {
                    bit_offset: raw & 0xff_ffff,
                    bitfield_bits: raw >> 24,
                    bytes: 0,
                }
            } else {
                Field {
                    bit_offset: raw,
                    bitfield_bits: 0,
                    bytes: 0,
                }
            };
            if member_name == name {
                return Some((field, id));
            }
            if member_name.is_empty()
                && let Some(inner) = self.strip(id)
                && let Some((mut found, id)) = self.member(inner, name, depth + 1, left)
            {
                found.bit_offset = found.bit_offset.checked_add(field.bit_offset)?;
                return Some((found, id));
            }
        }
        None
    }

    /// Names and values of an enum.
    pub fn enum_values(&self, name: &str) -> Option<Vec<(&'a [u8], u64)>> {
        let find = |kind| self.by_name.get(&(kind, name.as_bytes())).copied();
        let ty = self.get(find(kind::ENUM).or_else(|| find(kind::ENUM64))?)?;
        let step = if ty.kind == kind::ENUM { 8 } else { 12 };
        (0..ty.vlen)
            .map(|index| {
                let at = index * step;
                let low = u32_at(ty.tail, at + 4)?;
                let high = match ty.kind {
                    kind::ENUM64 => u32_at(ty.tail, at + 8)?,
                    _ => 0,
                };
                let value = u64::from(high) << 32 | u64::from(low);
                Some((self.string(u32_at(ty.tail, at)?), value))
            })
            .collect()
    }

    /// Whether a thread may be preempted within a tracepoint: from 7.0 the guard of this type keeps its programs, and
    /// preemption is not disabled.
    pub fn preemptible_tracepoints(&self) -> bool {
        let guard: &[u8] = b"class_srcu_fast_notrace_t";
        self.by_name.contains_key(&(kind::TYPEDEF, guard))
    }

    /// Whether the kernel has a function of this name.
    pub fn has_function(&self, name: &str) -> bool {
        self.by_name.contains_key(&(kind::FUNC, name.as_bytes()))
    }

    /// Arguments of a function; `None` when the kernel has no such function, or has it inlined.
    pub fn function_args(&self, name: &str) -> Option<usize> {
        let id = self.by_name.get(&(kind::FUNC, name.as_bytes()))?;
        let proto = self.strip(self.get(*id)?.size_or_type)?;
        (proto.kind == kind::FUNC_PROTO).then_some(proto.vlen)
    }

    /// Arguments of a tracepoint, as a tp_btf program sees them; `None` when the kernel has no such
    /// tracepoint.
    pub fn tracepoint_args(&self, name: &str) -> Option<usize> {
        let typedef = format!("btf_trace_{name}");
        let id = self.by_name.get(&(kind::TYPEDEF, typedef.as_bytes()))?;
        let pointer = self.strip(*id).filter(|ty| ty.kind == kind::PTR)?;
        let proto = self
            .strip(pointer.size_or_type)
            .filter(|ty| ty.kind == kind::FUNC_PROTO)?;
        // The first is the tracing core's own `void *`.
        proto.vlen.checked_sub(1)
    }
}
