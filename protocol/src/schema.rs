//! Pure: how the table in [`crate::message`] becomes structs with both codecs. The macro uses the names imported there.

use serde::{Deserialize, Deserializer};

macro_rules! messages {
    ($( $(#[$doc:meta])* $name:ident { $($fields:tt)* } )*) => {
        $( messages!(@field [$(#[$doc])* $name] [] $($fields)*); )*
    };
    // All fields are read: emit the struct. The derived code would take an array for a message too, so it stays inherent
    // (`remote`), and the trait admits an object only.
    (@field [$(#[$doc:meta])* $name:ident] [$($done:tt)*]) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, ::prost::Message, Serialize, Deserialize)]
        #[serde(default, remote = "Self")]
        #[allow(missing_docs)]
        pub struct $name { $($done)* }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $name::serialize(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Object;
                impl<'de> Visitor<'de> for Object {
                    type Value = $name;
                    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                        out.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<$name, A::Error> {
                        $name::deserialize(MapAccessDeserializer::new(fields))
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }
    };
    (@field $head:tt [$($done:tt)*] keep $kind:ident $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@scalar $head [$($done)*] [] $kind $field $tag; $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] payload $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)*
            #[prost(bytes = "bytes", tag = $tag)]
            #[serde(with = "payload", skip_serializing_if = "Bytes::is_empty")]
            pub $field: Bytes,
        ] $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] one $kind:ident $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)*
            #[prost(message, optional, tag = $tag)]
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $field: Option<$kind>,
        ] $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] many keep $kind:ident $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)*
            #[prost(message, repeated, tag = $tag)]
            #[serde(deserialize_with = "null_is_zero")]
            pub $field: Vec<$kind>,
        ] $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] subscriptions $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)*
            #[prost(message, repeated, tag = $tag)]
            #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_zero")]
            pub $field: Subscriptions,
        ] $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] many string $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)*
            #[prost(string, repeated, tag = $tag)]
            #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_zero")]
            pub $field: Vec<String>,
        ] $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] many $kind:ident $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)*
            #[prost(message, repeated, tag = $tag)]
            #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_zero")]
            pub $field: Vec<$kind>,
        ] $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] map string $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)*
            #[prost(btree_map = "string, string", tag = $tag)]
            #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_zero")]
            pub $field: BTreeMap<String, String>,
        ] $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] map keep $kind:ident $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)*
            #[prost(btree_map = "string, message", tag = $tag)]
            #[serde(deserialize_with = "null_is_zero")]
            pub $field: BTreeMap<String, $kind>,
        ] $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] map $kind:ident $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)*
            #[prost(btree_map = "string, message", tag = $tag)]
            #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_zero")]
            pub $field: BTreeMap<String, $kind>,
        ] $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] $kind:ident $field:ident = $tag:tt; $($rest:tt)*) => {
        messages!(@scalar $head [$($done)*] [#[serde(skip_serializing_if = "is_zero")]] $kind $field $tag; $($rest)*);
    };
    (@scalar $head:tt [$($done:tt)*] [$($skip:tt)*] string $field:ident $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)* #[prost(string, tag = $tag)] $($skip)* #[serde(deserialize_with = "null_is_zero")] pub $field: String,] $($rest)*);
    };
    (@scalar $head:tt [$($done:tt)*] [$($skip:tt)*] u32 $field:ident $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)* #[prost(uint32, tag = $tag)] $($skip)* #[serde(deserialize_with = "null_is_zero")] pub $field: u32,] $($rest)*);
    };
    (@scalar $head:tt [$($done:tt)*] [$($skip:tt)*] u64 $field:ident $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)* #[prost(uint64, tag = $tag)] $($skip)* #[serde(deserialize_with = "null_is_zero")] pub $field: u64,] $($rest)*);
    };
    (@scalar $head:tt [$($done:tt)*] [$($skip:tt)*] i32 $field:ident $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)* #[prost(int32, tag = $tag)] $($skip)* #[serde(deserialize_with = "null_is_zero")] pub $field: i32,] $($rest)*);
    };
    (@scalar $head:tt [$($done:tt)*] [$($skip:tt)*] i64 $field:ident $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)* #[prost(int64, tag = $tag)] $($skip)* #[serde(deserialize_with = "null_is_zero")] pub $field: i64,] $($rest)*);
    };
    (@scalar $head:tt [$($done:tt)*] [$($skip:tt)*] sint64 $field:ident $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)* #[prost(sint64, tag = $tag)] $($skip)* #[serde(deserialize_with = "null_is_zero")] pub $field: i64,] $($rest)*);
    };
    (@scalar $head:tt [$($done:tt)*] [$($skip:tt)*] bool $field:ident $tag:tt; $($rest:tt)*) => {
        messages!(@field $head [$($done)* #[prost(bool, tag = $tag)] $($skip)* #[serde(deserialize_with = "null_is_zero")] pub $field: bool,] $($rest)*);
    };
}
pub(crate) use messages;

pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(crate) fn null_is_zero<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
