//! Base64, hexadecimal, character sets, URLs and JSON paths.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::batch::text::parse_i64;
use crate::expr::expression::Expr;

use super::datum::{Datum, some_bytes, some_texts, try_booleans, try_bytes, try_texts};
use super::{EvalContext, Kernel};

/// The loop for `name`, and whether it can fail.
// tidy: table
pub(super) fn kernel(name: &'static str, _args: &[Expr]) -> Option<(Kernel, bool)> {
    let kernel: Kernel = match name {
        #[cfg(feature = "sql")]
        "MD5" | "SHA1" | "SHA224" | "SHA256" | "SHA384" | "SHA512" | "SHA2" => {
            super::digests::kernel(name)
        }
        "HEX" => of_bytes(|bytes, out| hex(bytes, out, b"0123456789ABCDEF")),
        "TO_BASE64" => of_bytes(|bytes, out| STANDARD.encode_string(bytes, out)),
        "FROM_BASE64" => Box::new(|args, rows, _| {
            let texts = args[0].texts();
            try_texts(args, rows, |row, out| {
                let text = texts.get(row);
                let bytes = LENIENT
                    .decode(text)
                    .map_err(|_| format!("FROM_BASE64: '{text}' is no base64"))?;
                out.push_str(&String::from_utf8_lossy(&bytes));
                Ok(true)
            })
        }),
        "UNHEX" => Box::new(|args, rows, _| {
            let texts = args[0].texts();
            Ok(some_bytes(args, rows, |row, out| unhex(texts.get(row).as_bytes(), out)))
        }),
        "ENCODE" => Box::new(|args, rows, _| {
            let (texts, sets) = (args[0].texts(), args[1].texts());
            try_bytes(args, rows, |row, out| {
                let set = sets.get(row);
                if encode(texts.get(row), set, out) { Ok(true) } else { Err(unknown_set(set)) }
            })
        }),
        "DECODE" => Box::new(|args, rows, _| {
            let (bytes, sets) = (args[0].bytes(), args[1].texts());
            try_texts(args, rows, |row, out| {
                let set = sets.get(row);
                if decode(bytes.get(row), set, out) { Ok(true) } else { Err(unknown_set(set)) }
            })
        }),
        "URL_ENCODE" => of_bytes(|bytes, out| {
            for &byte in bytes {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                        out.push(byte.into())
                    }
                    b' ' => out.push('+'),
                    byte => {
                        out.push('%');
                        hex(&[byte], out, b"0123456789ABCDEF");
                    }
                }
            }
        }),
        "URL_DECODE" => texts(url_decode),
        "PARSE_URL" => Box::new(|args, rows, _| {
            let (urls, parts) = (args[0].texts(), args[1].texts());
            let keys = args.get(2).map(Datum::texts);
            Ok(some_texts(args, rows, |row, out| {
                let key = keys.as_ref().map(|keys| keys.get(row));
                let found = url_part(urls.get(row), parts.get(row), key);
                out.push_str(found.unwrap_or(""));
                found.is_some()
            }))
        }),
        "JSON_VALUE" => Box::new(|args, rows, _| {
            let (documents, paths) = (args[0].texts(), args[1].texts());
            Ok(some_texts(args, rows, |row, out| {
                json_value(documents.get(row), paths.get(row), out)
            }))
        }),
        "JSON_QUOTE" => texts(|text, out| {
            out.push_str(&serde_json::Value::String(text.into()).to_string());
            true
        }),
        "JSON_UNQUOTE" => texts(|text, out| {
            match serde_json::from_str::<String>(text) {
                Ok(inner) => out.push_str(&inner),
                Err(_) => out.push_str(text),
            }
            true
        }),
        "IS JSON" => Box::new(|args, rows, _| {
            let documents = args[0].texts();
            let is_json =
                |row| serde_json::from_str::<serde_json::Value>(documents.get(row)).is_ok();
            try_booleans(args, rows, |row| Ok(Some(is_json(row))))
        }),
        "JSON_EXISTS" => Box::new(|args, rows, _| {
            let (documents, paths) = (args[0].texts(), args[1].texts());
            try_booleans(args, rows, |row| {
                let document = serde_json::from_str::<serde_json::Value>(documents.get(row));
                Ok(Some(document.is_ok_and(|document| walk(&document, paths.get(row)).is_some())))
            })
        }),
        _ => return None,
    };
    Some((kernel, matches!(name, "FROM_BASE64" | "ENCODE" | "DECODE")))
}

fn unknown_set(set: &str) -> String {
    format!(
        "there is no character set {set}; take UTF-8, UTF-16, UTF-16BE, UTF-16LE, ISO-8859-1 or US-ASCII"
    )
}

/// As Java's decoder: padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn of_bytes(each: impl Fn(&[u8], &mut String) + Send + Sync + 'static) -> Kernel {
    Box::new(move |args: &[Datum], rows, _: &EvalContext| {
        let bytes = args[0].bytes();
        Ok(some_texts(args, rows, |row, out| {
            each(bytes.get(row), out);
            true
        }))
    })
}

fn texts(each: impl Fn(&str, &mut String) -> bool + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| {
        let texts = args[0].texts();
        Ok(some_texts(args, rows, |row, out| each(texts.get(row), out)))
    })
}

pub(super) fn hex(bytes: &[u8], out: &mut String, digits: &[u8; 16]) {
    for byte in bytes {
        out.push(digits[usize::from(byte >> 4)].into());
        out.push(digits[usize::from(byte & 15)].into());
    }
}

fn unhex(text: &[u8], out: &mut Vec<u8>) -> bool {
    let value = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (first, pairs) = text.split_at(text.len() % 2);
    for &byte in first {
        let Some(digit) = value(byte) else { return false };
        out.push(digit);
    }
    for pair in pairs.chunks(2) {
        let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else { return false };
        out.push(high << 4 | low);
    }
    true
}

fn encode(text: &str, set: &str, out: &mut Vec<u8>) -> bool {
    match set.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => out.extend_from_slice(text.as_bytes()),
        "US-ASCII" | "ASCII" => {
            out.extend(text.chars().map(|c| if c.is_ascii() { c as u8 } else { b'?' }))
        }
        "ISO-8859-1" | "LATIN1" => {
            out.extend(text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')))
        }
        "UTF-16BE" => out.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
        "UTF-16LE" => out.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
        "UTF-16" => {
            out.extend_from_slice(&[0xfe, 0xff]);
            out.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
        }
        _ => return false,
    }
    true
}

fn decode(bytes: &[u8], set: &str, out: &mut String) -> bool {
    let units = |read: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match set.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => out.push_str(&String::from_utf8_lossy(bytes)),
        "US-ASCII" | "ASCII" => {
            out.extend(bytes.iter().map(|&b| if b < 128 { b.into() } else { '\u{fffd}' }))
        }
        "ISO-8859-1" | "LATIN1" => out.extend(bytes.iter().map(|&byte| char::from(byte))),
        "UTF-16BE" => out.push_str(&units(u16::from_be_bytes, bytes)),
        "UTF-16LE" => out.push_str(&units(u16::from_le_bytes, bytes)),
        "UTF-16" => match bytes {
            [0xff, 0xfe, rest @ ..] => out.push_str(&units(u16::from_le_bytes, rest)),
            [0xfe, 0xff, rest @ ..] => out.push_str(&units(u16::from_be_bytes, rest)),
            rest => out.push_str(&units(u16::from_be_bytes, rest)),
        },
        _ => return false,
    }
    true
}

fn url_decode(text: &str, out: &mut String) -> bool {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'+', tail) => {
                bytes.push(b' ');
                tail
            }
            (b'%', [high, low, tail @ ..]) => {
                if !unhex(&[*high, *low], &mut bytes) {
                    return false;
                }
                tail
            }
            (b'%', _) => return false,
            (byte, tail) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    out.push_str(&String::from_utf8_lossy(&bytes));
    true
}

/// A part of a URL as `java.net.URL` names it; NULL for no URL or no such part.
fn url_part<'a>(url: &'a str, part: &str, key: Option<&str>) -> Option<&'a str> {
    let (protocol, rest) = url.trim().split_once(':')?;
    if !["http", "https", "ftp", "file", "jar", "mailto"]
        .iter()
        .any(|known| protocol.eq_ignore_ascii_case(known))
    {
        return None;
    }
    let (rest, reference) = match rest.split_once('#') {
        Some((rest, reference)) => (rest, Some(reference)),
        None => (rest, None),
    };
    let (authority, file) = match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        None => (None, rest),
    };
    let (path, query) = match file.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (file, None),
    };
    let (user, host) =
        match authority.map(|authority| authority.rsplit_once('@').unwrap_or(("", authority))) {
            Some((user, host)) => (Some(user).filter(|user| !user.is_empty()), host),
            None => (None, ""),
        };
    match (part, key) {
        ("QUERY", Some(key)) => {
            let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
        }
        (_, Some(_)) => None,
        ("HOST", _) => {
            let port = host.rfind(':').filter(|&colon| !host[colon..].contains(']'));
            Some(&host[..port.unwrap_or(host.len())])
        }
        ("PATH", _) => Some(path),
        ("QUERY", _) => query,
        ("REF", _) => reference,
        ("PROTOCOL", _) => Some(protocol),
        ("FILE", _) => Some(file),
        ("AUTHORITY", _) => authority,
        ("USERINFO", _) => user,
        _ => None,
    }
}

/// What the path leads to in `document`; `None` also for paths other than `$`, `.name`, `['name']` and `[index]`.
fn walk<'a>(document: &'a serde_json::Value, path: &str) -> Option<&'a serde_json::Value> {
    let path = path.trim_start();
    let path = path.strip_prefix("lax").or_else(|| path.strip_prefix("strict")).unwrap_or(path);
    let mut rest = path.trim().strip_prefix('$')?;
    let mut at = document;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('.') {
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            at = at.get(&tail[..end])?;
            rest = &tail[end..];
        } else {
            let tail = rest.strip_prefix('[')?;
            let quote = tail.chars().next()?;
            let (key, after) = match quote {
                '\'' | '"' => tail[1..].split_once(quote)?,
                _ => tail.split_at(tail.find(']')?),
            };
            rest = after.trim_start().strip_prefix(']')?;
            at = match quote {
                '\'' | '"' => at.get(key)?,
                _ => at.get(usize::try_from(parse_i64(key.trim().as_bytes())?).ok()?)?,
            };
        }
    }
    Some(at)
}

/// Appends a scalar at the path; NULL for none, for objects and arrays, and for text that is no JSON.
fn json_value(document: &str, path: &str, out: &mut String) -> bool {
    let Ok(document) = serde_json::from_str::<serde_json::Value>(document) else { return false };
    match walk(&document, path) {
        Some(serde_json::Value::String(text)) => out.push_str(text),
        Some(serde_json::Value::Bool(value)) => out.push_str(if *value { "true" } else { "false" }),
        Some(serde_json::Value::Number(number)) => big_decimal(&number.to_string(), out),
        _ => return false,
    }
    true
}

/// A JSON number as `BigDecimal.toString` writes it: `1.0E5` is `1.0E+5`.
fn big_decimal(number: &str, out: &mut String) {
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        out.push_str(number);
        return;
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = match digits.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let scale = fraction.len() as i64 - parse_i64(exponent.as_bytes()).unwrap_or(0);
    let adjusted = digits.len() as i64 - 1 - scale;
    out.push_str(sign);
    if scale >= 0 && adjusted >= -6 {
        let padded =
            format!("{}{digits}", "0".repeat((scale as usize + 1).saturating_sub(digits.len())));
        let (whole, fraction) = padded.split_at(padded.len() - scale as usize);
        out.push_str(whole);
        if !fraction.is_empty() {
            out.push('.');
            out.push_str(fraction);
        }
        return;
    }
    out.push_str(&digits[..1]);
    if digits.len() > 1 {
        out.push('.');
        out.push_str(&digits[1..]);
    }
    out.push_str(&format!("E{adjusted:+}"));
}
