//! Digests of strings and bytes: MD5 and the SHA family. Their crates are those of the feature `sql`.

use arrow_array::types::Int32Type;
use md5::Md5;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::Kernel;
use super::datum::some_texts;
use super::encodings::hex;

/// The loop for one of the digests; it cannot fail.
pub(super) fn kernel(name: &'static str) -> Kernel {
    if name == "SHA2" { of_length() } else { named(name) }
}

fn hasher(name: &str) -> Box<dyn DynDigest> {
    match name {
        "MD5" => Box::new(Md5::default()),
        "SHA1" => Box::new(Sha1::default()),
        "SHA224" => Box::new(Sha224::default()),
        "SHA384" => Box::new(Sha384::default()),
        "SHA512" => Box::new(Sha512::default()),
        _ => Box::new(Sha256::default()),
    }
}

fn named(name: &'static str) -> Kernel {
    Box::new(move |args, rows, _| {
        let bytes = args[0].bytes();
        let mut hasher = hasher(name);
        Ok(some_texts(args, rows, |row, out| {
            hasher.update(bytes.get(row));
            hex(&hasher.finalize_reset(), out, b"0123456789abcdef");
            true
        }))
    })
}

/// SHA2, whose second argument is the length in bits.
fn of_length() -> Kernel {
    Box::new(|args, rows, _| {
        let (bytes, bits) = (args[0].bytes(), args[1].numbers::<Int32Type>());
        Ok(some_texts(args, rows, |row, out| {
            let name = match bits.get(row) {
                224 => "SHA224",
                256 => "SHA256",
                384 => "SHA384",
                512 => "SHA512",
                _ => return false,
            };
            let mut hasher = hasher(name);
            hasher.update(bytes.get(row));
            hex(&hasher.finalize_reset(), out, b"0123456789abcdef");
            true
        }))
    })
}
