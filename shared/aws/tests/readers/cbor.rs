//! CloudWatch speaks CBOR (RFC 8949); the shapes are written as JSON. A number under a key that ends in `Timestamp` or
//! `Timestamps` is a moment, everything else is what it is in JSON.

use serde_json::{Map, Number, Value};

/// Tag of a moment in seconds since 1970.
const EPOCH: u8 = 0xc1;

pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, value, false);
    bytes
}

fn head(bytes: &mut Vec<u8>, major: u8, count: u64) {
    bytes.push(major << 5 | 0x1b);
    bytes.extend(count.to_be_bytes());
}

fn write(bytes: &mut Vec<u8>, value: &Value, is_moment: bool) {
    match value {
        Value::Null => bytes.push(0xf6),
        Value::Bool(value) => bytes.push(if *value { 0xf5 } else { 0xf4 }),
        Value::Number(number) => {
            if is_moment {
                bytes.push(EPOCH);
            }
            if let Some(count) = number.as_u64() {
                head(bytes, 0, count);
            } else if let Some(negative) = number.as_i64() {
                head(bytes, 1, u64::try_from(-1 - negative).unwrap());
            } else {
                bytes.push(0xfb);
                bytes.extend(number.as_f64().unwrap().to_be_bytes());
            }
        }
        Value::String(text) => {
            head(bytes, 3, text.len() as u64);
            bytes.extend(text.as_bytes());
        }
        Value::Array(items) => {
            head(bytes, 4, items.len() as u64);
            for item in items {
                write(bytes, item, is_moment);
            }
        }
        Value::Object(fields) => {
            head(bytes, 5, fields.len() as u64);
            for (name, value) in fields {
                head(bytes, 3, name.len() as u64);
                bytes.extend(name.as_bytes());
                write(bytes, value, name.ends_with("Timestamp") || name.ends_with("Timestamps"));
            }
        }
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Value {
    let mut rest = bytes;
    let value = read(&mut rest).expect("one value");
    assert!(rest.is_empty(), "bytes after the value");
    value
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

/// The next value; none = the end of a list or map without a length.
fn read(rest: &mut &[u8]) -> Option<Value> {
    let first = take(rest, 1)[0];
    if first == 0xff {
        return None;
    }
    let (major, low) = (first >> 5, first & 31);
    let count = match low {
        0..24 => Some(u64::from(low)),
        24..=27 => {
            let bytes = take(rest, 1 << (low - 24));
            Some(bytes.iter().fold(0, |count, byte| count << 8 | u64::from(*byte)))
        }
        31 => None,
        other => panic!("no such length: {other}"),
    };
    let length = count.map(|count| usize::try_from(count).unwrap());
    Some(match major {
        0 => Value::from(count.unwrap()),
        1 => Value::from(-1 - i64::try_from(count.unwrap()).unwrap()),
        3 => Value::from(String::from_utf8(take(rest, length.expect("a text with a length")).to_vec()).unwrap()),
        4 => Value::Array(match length {
            Some(length) => (0..length).map(|_| read(rest).unwrap()).collect(),
            None => std::iter::from_fn(|| read(rest)).collect(),
        }),
        5 => {
            let mut fields = Map::new();
            let mut left = length;
            while left != Some(0) {
                let Some(name) = read(rest) else { break };
                fields.insert(name.as_str().expect("a name").to_owned(), read(rest).unwrap());
                left = left.map(|left| left - 1);
            }
            Value::Object(fields)
        }
        6 => read(rest).unwrap(),
        7 => match low {
            20 => Value::Bool(false),
            21 => Value::Bool(true),
            22 => Value::Null,
            26 => float(f64::from(f32::from_bits(u32::try_from(count.unwrap()).unwrap()))),
            27 => float(f64::from_bits(count.unwrap())),
            other => panic!("no such simple value: {other}"),
        },
        other => panic!("no such kind of value: {other}"),
    })
}

fn float(value: f64) -> Value {
    Value::Number(Number::from_f64(value).expect("a finite number"))
}

#[test]
fn what_is_written_reads_the_same() {
    let value =
        serde_json::json!({ "a": [1, -2, 2.5, null, true], "Timestamps": [1_777_896_000], "s": "größe", "m": {} });
    assert_eq!(decode(&encode(&value)), value);
    assert_eq!(
        decode(&[0xbf, 0x61, b'a', 0x9f, 0x01, 0xfa, 0x3f, 0xc0, 0, 0, 0xff, 0xff]),
        serde_json::json!({ "a": [1, 1.5] })
    );
}
