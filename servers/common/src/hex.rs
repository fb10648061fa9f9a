//! Keys as operators and configuration files write them.

pub use ntm_proto::hex::{NotHex, decode, decode_array, encode};

/// For `#[serde(with = "…::hex::array")]`: a fixed number of bytes written in hexadecimal.
pub mod array {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        super::decode_array(&text).map_err(|_| D::Error::custom(format!("expected {} hexadecimal digits", N * 2)))
    }
}
