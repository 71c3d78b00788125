//! String functions. Positions count characters from 1, as in SQL; LPAD, RPAD and OVERLAY count UTF-16 units, as Flink does.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::BooleanBuffer;

use crate::expr::expression::Expr;

use super::datum::{
    Datum, Numbers, Texts, nulls, some_numbers, some_texts, try_booleans, try_texts,
};
use super::{EvalContext, Kernel};

/// The largest string that REPEAT and the pads make, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// The loop for `name`, and whether it can fail.
pub(super) fn kernel(name: &'static str, args: &[Expr]) -> Option<(Kernel, bool)> {
    let kernel = simple(name).or_else(|| positional(name, args))?;
    Some((kernel, matches!(name, "REPEAT" | "LPAD" | "RPAD")))
}

/// Functions of strings alone.
fn simple(name: &'static str) -> Option<Kernel> {
    Some(match name {
        "UPPER" => one(|text, out| {
            if text.is_ascii() {
                out.push_str(text);
                out.make_ascii_uppercase();
            } else {
                out.push_str(&text.to_uppercase());
            }
        }),
        "LOWER" => one(|text, out| {
            if text.is_ascii() {
                out.push_str(text);
                out.make_ascii_lowercase();
            } else {
                out.push_str(&text.to_lowercase());
            }
        }),
        "REVERSE" => one(|text, out| out.extend(text.chars().rev())),
        "INITCAP" => one(initcap),
        "TRIM BOTH" => {
            two(|chars, text, out| out.push_str(text.trim_matches(|c| chars.contains(c))))
        }
        "TRIM LEADING" => {
            two(|chars, text, out| out.push_str(text.trim_start_matches(|c| chars.contains(c))))
        }
        "TRIM TRAILING" => {
            two(|chars, text, out| out.push_str(text.trim_end_matches(|c| chars.contains(c))))
        }
        "CHAR_LENGTH" => integer(|args, row| args[0].get(row).chars().count() as i32),
        "ASCII" => integer(|args, row| {
            args[0].get(row).bytes().next().map_or(0, |byte| i32::from(byte as i8))
        }),
        "CONCAT" => Box::new(|args, rows, _| {
            let texts: Vec<_> = args.iter().map(Datum::texts).collect();
            Ok(some_texts(args, rows, |row, out| {
                texts.iter().for_each(|text| out.push_str(text.get(row)));
                true
            }))
        }),
        "CONCAT_WS" => Box::new(|args, rows, _| Ok(concat_ws(args, rows))),
        "STARTSWITH" => predicate(|text, start| text.starts_with(start)),
        "ENDSWITH" => predicate(|text, end| text.ends_with(end)),
        "TRANSLATE" => Box::new(|args, rows, _| Ok(translate(args, rows))),
        "IS_ALPHA" => test(|text| text.chars().all(char::is_alphabetic)),
        "IS_DIGIT" => test(|text| text.chars().all(char::is_numeric)),
        "IS_DECIMAL" => test(|text| crate::batch::text::parse_f64(text.as_bytes()).is_some()),
        "REPLACE" => Box::new(|args, rows, _| {
            let (text, old, new) = (args[0].texts(), args[1].texts(), args[2].texts());
            Ok(some_texts(args, rows, |row, out| {
                replace(text.get(row), old.get(row), new.get(row), out);
                true
            }))
        }),
        _ => return None,
    })
}

/// Functions that take positions or counts, too.
fn positional(name: &'static str, args: &[Expr]) -> Option<Kernel> {
    let numeric_separator = args.get(1).is_some_and(|arg| arg.data_type.is_integer());
    Some(match name {
        "SUBSTRING" => {
            Box::new(|args: &[Datum], rows: usize, _: &EvalContext| Ok(substring(args, rows)))
                as Kernel
        }
        "LEFT" => {
            part(|text, count| text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end]))
        }
        "RIGHT" => part(|text, count| {
            let start = text
                .char_indices()
                .rev()
                .nth(count.saturating_sub(1))
                .map_or(0, |(start, _)| start);
            if count == 0 { "" } else { &text[start..] }
        }),
        "POSITION" => Box::new(|args, rows, _| Ok(position(args, rows))),
        "INSTR" => Box::new(|args, rows, _| Ok(instr(args, rows))),
        "LPAD" => pad(true),
        "RPAD" => pad(false),
        "SPLIT_INDEX" if numeric_separator => Box::new(|args, rows, _| {
            Ok(split_index(args, rows, Separators::Codes(args[1].numbers::<Int64Type>())))
        }),
        "SPLIT_INDEX" => Box::new(|args, rows, _| {
            Ok(split_index(args, rows, Separators::Texts(args[1].texts())))
        }),
        "REPEAT" => repeat(),
        "CHR" => Box::new(|args, rows, _| {
            let codes = args[0].numbers::<Int64Type>();
            Ok(some_texts(args, rows, |row, out| {
                let code = codes.get(row);
                if code >= 0 {
                    out.push(char::from((code & 0xff) as u8));
                }
                true
            }))
        }),
        "OVERLAY" => Box::new(|args, rows, _| Ok(overlay(args, rows))),
        "ELT" => Box::new(|args, rows, _| Ok(elt(args, rows))),
        _ => return None,
    })
}

fn one(each: impl Fn(&str, &mut String) + Send + Sync + 'static) -> Kernel {
    Box::new(move |args: &[Datum], rows, _: &EvalContext| {
        let texts = args[0].texts();
        Ok(some_texts(args, rows, |row, out| {
            each(texts.get(row), out);
            true
        }))
    })
}

fn two(each: impl Fn(&str, &str, &mut String) + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| {
        let (a, b) = (args[0].texts(), args[1].texts());
        Ok(some_texts(args, rows, |row, out| {
            each(a.get(row), b.get(row), out);
            true
        }))
    })
}

/// The beginning or the end of a string, of so many characters.
fn part(each: impl Fn(&str, usize) -> &str + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| {
        let (texts, counts) = (args[0].texts(), args[1].numbers::<Int32Type>());
        Ok(some_texts(args, rows, |row, out| {
            out.push_str(each(texts.get(row), counts.get(row).max(0) as usize));
            true
        }))
    })
}

fn integer(each: impl Fn(&[Texts<'_>], usize) -> i32 + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| {
        let texts = [args[0].texts()];
        Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| Some(each(&texts, row)))))
    })
}

fn predicate(each: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| {
        let (a, b) = (args[0].texts(), args[1].texts());
        try_booleans(args, rows, |row| Ok(Some(each(a.get(row), b.get(row)))))
    })
}

/// A test that is false for NULL and for the empty string.
fn test(each: impl Fn(&str) -> bool + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| {
        let valid = nulls(&args[..1], rows);
        let texts = args[0].texts();
        let bits = BooleanBuffer::collect_bool(rows, |row| {
            let text = texts.get(row);
            valid.as_ref().is_none_or(|valid| valid.is_valid(row)) && !text.is_empty() && each(text)
        });
        Ok(Arc::new(BooleanArray::new(bits, None)))
    })
}

/// Upper case at the start of each run of ASCII letters and digits; other characters stay as they are.
fn initcap(text: &str, out: &mut String) {
    let mut inside = false;
    for char in text.chars() {
        out.push(if inside { char.to_ascii_lowercase() } else { char.to_ascii_uppercase() });
        inside = char.is_ascii_alphanumeric();
    }
}

fn concat_ws(args: &[Datum], rows: usize) -> ArrayRef {
    let valid: Vec<_> = args.iter().map(|arg| nulls(std::slice::from_ref(arg), rows)).collect();
    let texts: Vec<_> = args.iter().map(Datum::texts).collect();
    some_texts(&args[..1], rows, |row, out| {
        let mut first = true;
        for (text, valid) in texts.iter().zip(&valid).skip(1) {
            if valid.as_ref().is_none_or(|valid| valid.is_valid(row)) {
                if !first {
                    out.push_str(texts[0].get(row));
                }
                first = false;
                out.push_str(text.get(row));
            }
        }
        true
    })
}

fn substring(args: &[Datum], rows: usize) -> ArrayRef {
    let (texts, starts) = (args[0].texts(), args[1].numbers::<Int32Type>());
    let lengths = args.get(2).map(Datum::numbers::<Int32Type>);
    some_texts(args, rows, |row, out| {
        let (text, start) = (texts.get(row), i64::from(starts.get(row)));
        let length =
            lengths.as_ref().map_or(i64::from(i32::MAX), |lengths| lengths.get(row).into());
        if length < 0 {
            return false;
        }
        let skip = match start {
            1.. => start - 1,
            0 => 0,
            _ => {
                let skip = text.chars().count() as i64 + start;
                if skip < 0 {
                    return true;
                }
                skip
            }
        };
        if text.is_ascii() {
            let begin = (skip as usize).min(text.len());
            out.push_str(&text[begin..begin + (length as usize).min(text.len() - begin)]);
        } else {
            out.extend(text.chars().skip(skip as usize).take(length as usize));
        }
        true
    })
}

fn replace(text: &str, old: &str, new: &str, out: &mut String) {
    if !old.is_empty() {
        let mut end = 0;
        for (start, _) in text.match_indices(old) {
            out.push_str(&text[end..start]);
            out.push_str(new);
            end = start + old.len();
        }
        out.push_str(&text[end..]);
        return;
    }
    out.push_str(new);
    for char in text.chars() {
        out.push(char);
        out.push_str(new);
    }
}

/// The character position of `needle`, from 1; 0 if it is not there. Only characters from `from` on count.
fn find(text: &str, needle: &str, from: i64) -> i32 {
    if needle.is_empty() {
        return 1;
    }
    let begin = match usize::try_from(from - 1) {
        Ok(skip) if skip > 0 => match text.char_indices().nth(skip) {
            Some((begin, _)) => begin,
            None => return 0,
        },
        _ => 0,
    };
    match text[begin..].find(needle) {
        Some(at) => text[..begin + at].chars().count() as i32 + 1,
        None => 0,
    }
}

/// POSITION(needle, text[, from]).
fn position(args: &[Datum], rows: usize) -> ArrayRef {
    let (needles, texts) = (args[0].texts(), args[1].texts());
    let from = args.get(2).map(Datum::numbers::<Int32Type>);
    Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
        let from = from.as_ref().map_or(1, |from| from.get(row).into());
        Some(find(texts.get(row), needles.get(row), from))
    }))
}

/// INSTR(text, needle[, from[, nth]]); a negative `from` searches backwards.
fn instr(args: &[Datum], rows: usize) -> ArrayRef {
    let (texts, needles) = (args[0].texts(), args[1].texts());
    let from = args.get(2).map(Datum::numbers::<Int32Type>);
    let nth = args.get(3).map(Datum::numbers::<Int32Type>);
    Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
        let (text, needle) = (texts.get(row), needles.get(row));
        let from = from.as_ref().map_or(1, |from| i64::from(from.get(row)));
        let nth = nth.as_ref().map_or(1, |nth| nth.get(row));
        if from >= 0 {
            return Some(nth_find(text, needle, from, nth));
        }
        let reverse = |text: &str| text.chars().rev().collect::<String>();
        let at = nth_find(&reverse(text), &reverse(needle), -from, nth);
        Some(if at == 0 {
            0
        } else {
            text.chars().count() as i32 + 2 - at - needle.chars().count() as i32
        })
    }))
}

fn nth_find(text: &str, needle: &str, from: i64, nth: i32) -> i32 {
    if from == 0 || nth <= 0 {
        return 0;
    }
    let (mut from, mut at) = (from, 0);
    for _ in 0..nth {
        at = find(text, needle, from);
        if at == 0 {
            return 0;
        }
        from = i64::from(at) + 1;
    }
    at
}

/// A string of UTF-16 units; half of a pair becomes `?`, as in Java.
fn push_units(units: &[u16], out: &mut String) {
    out.extend(char::decode_utf16(units.iter().copied()).map(|unit| unit.unwrap_or('?')));
}

fn pad(left: bool) -> Kernel {
    Box::new(move |args, rows, _| {
        let (texts, lengths, pads) =
            (args[0].texts(), args[1].numbers::<Int32Type>(), args[2].texts());
        try_texts(args, rows, |row, out| {
            let (length, pad) = (lengths.get(row), pads.get(row));
            if length < 0 || pad.is_empty() {
                return Ok(false);
            }
            if length as usize > TEXT_BYTES_MAX {
                return Err(format!("a string padded to {length} characters is too long"));
            }
            let mut units: Vec<u16> = texts.get(row).encode_utf16().collect();
            let missing = (length as usize).saturating_sub(units.len());
            let padding = pad.encode_utf16().cycle().take(missing);
            if left {
                units.truncate(length as usize);
                let padded: Vec<u16> = padding.chain(units).collect();
                push_units(&padded, out);
            } else {
                units.extend(padding);
                push_units(&units[..length as usize], out);
            }
            Ok(true)
        })
    })
}

fn repeat() -> Kernel {
    Box::new(|args, rows, _| {
        let (texts, counts) = (args[0].texts(), args[1].numbers::<Int32Type>());
        try_texts(args, rows, |row, out| {
            let (text, count) = (texts.get(row), counts.get(row).max(0) as usize);
            if text.len().saturating_mul(count) > TEXT_BYTES_MAX {
                return Err(format!("a string repeated {count} times is too long"));
            }
            (0..count).for_each(|_| out.push_str(text));
            Ok(true)
        })
    })
}

/// What stands between the parts of SPLIT_INDEX: a string, or a character by its code.
enum Separators<'a> {
    Codes(Numbers<'a, i64>),
    Texts(Texts<'a>),
}

fn split_index(args: &[Datum], rows: usize, separators: Separators<'_>) -> ArrayRef {
    let (texts, indices) = (args[0].texts(), args[2].numbers::<Int32Type>());
    some_texts(args, rows, |row, out| {
        let text = texts.get(row);
        let mut buffer = [0; 4];
        let Ok(index) = usize::try_from(indices.get(row)) else { return false };
        let separator = match &separators {
            Separators::Texts(texts) => texts.get(row),
            Separators::Codes(codes) => match u8::try_from(codes.get(row)) {
                Ok(code) if code > 0 => char::from(code).encode_utf8(&mut buffer),
                _ => return false,
            },
        };
        let found = match separator {
            _ if text.is_empty() => None,
            "" => text.split(char::is_whitespace).nth(index),
            separator => text.split(separator).nth(index),
        };
        out.push_str(found.unwrap_or(""));
        found.is_some()
    })
}

fn overlay(args: &[Datum], rows: usize) -> ArrayRef {
    let (texts, news, starts) = (args[0].texts(), args[1].texts(), args[2].numbers::<Int32Type>());
    let lengths = args.get(3).map(Datum::numbers::<Int32Type>);
    some_texts(args, rows, |row, out| {
        let units: Vec<u16> = texts.get(row).encode_utf16().collect();
        let new: Vec<u16> = news.get(row).encode_utf16().collect();
        let start = i64::from(starts.get(row));
        if start <= 0 || start > units.len() as i64 {
            out.push_str(texts.get(row));
            return true;
        }
        let length = lengths.as_ref().map_or(new.len() as i64, |lengths| lengths.get(row).into());
        let mut all = units[..start as usize - 1].to_vec();
        all.extend(new);
        if length > 0 && start + length <= units.len() as i64 {
            all.extend(&units[(start - 1 + length) as usize..]);
        }
        push_units(&all, out);
        true
    })
}

fn translate(args: &[Datum], rows: usize) -> ArrayRef {
    let (texts, from, to) = (args[0].texts(), args[1].texts(), args[2].texts());
    some_texts(args, rows, |row, out| {
        let (from, to) = (from.get(row), to.get(row));
        for char in texts.get(row).chars() {
            match from.chars().position(|known| known == char) {
                None => out.push(char),
                Some(at) => out.extend(to.chars().nth(at)),
            }
        }
        true
    })
}

fn elt(args: &[Datum], rows: usize) -> ArrayRef {
    let index = args[0].numbers::<Int32Type>();
    let texts: Vec<_> = args[1..].iter().map(Datum::texts).collect();
    some_texts(&args[..1], rows, |row, out| {
        let chosen =
            usize::try_from(index.get(row) - 1).ok().and_then(|at| Some((at, texts.get(at)?)));
        let Some((at, text)) = chosen else { return false };
        let present = match &args[at + 1] {
            Datum::Column(column) => column.is_valid(row),
            Datum::Scalar(value) => value.is_valid(0),
        };
        if present {
            out.push_str(text.get(row));
        }
        present
    })
}
