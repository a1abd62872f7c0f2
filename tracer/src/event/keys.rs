//! The one definition of a group of keys: struct, encoder, reader and schema from the same list.

use super::{
    json::Json,
    parse::{Fault, Fields},
};
use serde_json::Value;

/// A key as documentation and schema see it.
pub struct Key {
    pub name: &'static str,
    /// What it means; empty when the name says it all.
    pub doc: &'static str,
    /// Its JSON Schema.
    pub schema: fn() -> Value,
    /// Lines that do not know it lack it.
    pub omittable: bool,
}

/// A group of keys.
pub trait Keys: Sized {
    const KEYS: &'static [Key];
    /// Appends `,"key":value` for each key.
    fn write(&self, out: &mut Vec<u8>);
    /// The same keys, from a line.
    fn read(from: &mut Fields<'_>) -> Result<Self, Fault>;
}

/// The schema of a field's type.
pub fn schema_of<T: Json>() -> Value {
    T::schema()
}

/// `r#where` is the key `where`.
macro_rules! key_name {
    (r#where) => {
        "where"
    };
    ($name:ident) => {
        stringify!($name)
    };
}
pub(crate) use key_name;

/// Fields of `with` are no keys of this group: whoever writes and reads the event sees to them.
macro_rules! keys {
    ($(#[$meta:meta])* pub struct $strukt:ident { $($(#[doc = $doc:literal])* $name:ident: $ty:ty,)* } $(with { $($(#[doc = $plain_doc:literal])* $plain:ident: $plain_ty:ty,)* })?) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $strukt { $($(#[doc = $doc])* pub $name: $ty,)* $($($(#[doc = $plain_doc])* pub $plain: $plain_ty,)*)? }

        impl $crate::event::keys::Keys for $strukt {
            const KEYS: &'static [$crate::event::keys::Key] = &[$($crate::event::keys::Key {
                name: $crate::event::keys::key_name!($name),
                doc: concat!($($doc),*).trim_ascii(),
                schema: $crate::event::keys::schema_of::<$ty>,
                omittable: <$ty as $crate::event::json::Json>::OMITTABLE,
            },)*];

            fn write(&self, out: &mut Vec<u8>) {
                use $crate::event::json::Json;
                $(
                    if self.$name.is_null() {
                        out.extend_from_slice(concat!(",\"", $crate::event::keys::key_name!($name), "\":null").as_bytes());
                    } else if !self.$name.is_omitted() {
                        out.extend_from_slice(concat!(",\"", $crate::event::keys::key_name!($name), "\":").as_bytes());
                        self.$name.write(out);
                    }
                )*
            }

            fn read(from: &mut $crate::event::parse::Fields<'_>) -> Result<Self, $crate::event::parse::Fault> {
                Ok($strukt {
                    $($name: from.get(
                        $crate::event::keys::key_name!($name),
                        concat!(",\"", $crate::event::keys::key_name!($name), "\":"),
                    )?,)*
                    $($($plain: Default::default(),)*)?
                })
            }
        }
    };
}
pub(crate) use keys;
