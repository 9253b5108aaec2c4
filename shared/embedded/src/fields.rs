//! JSON files that people may have written: what is wrong is said by file and field, unknown keys are let be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{PortError, PortResult};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The fields of one object of a file.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    file: PathBuf,
    /// Where in the file, such as `scan.`; empty at the top.
    within: String,
    object: Map<String, Value>,
}

impl Fields {
    /// Reads a file; none = there is none.
    pub(crate) fn read(file: &Path) -> PortResult<Option<Self>> {
        let wrong = |found: String| PortError::new(format!("reading {}", file.display()), found);
        let bytes = match fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|error| wrong(error.to_string()))?,
        };
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => {
                Ok(Some(Self { file: file.to_owned(), within: String::new(), object: fields }))
            }
            Ok(_) => Err(wrong("it is not a JSON object".to_owned())),
            Err(error) => Err(wrong(format!("it is not JSON: {error}"))),
        }
    }

    /// A field that must be there.
    pub(crate) fn required<T: DeserializeOwned>(&self, name: &str) -> PortResult<T> {
        self.optional(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// A field that may be absent or null.
    pub(crate) fn optional<T: DeserializeOwned>(&self, name: &str) -> PortResult<Option<T>> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                T::deserialize(value).map(Some).map_err(|error| self.wrong(name, &format!("is wrong: {error}")))
            }
        }
    }

    /// A moment that may be absent: RFC 3339 with an offset, or milliseconds since 1970.
    pub(crate) fn moment(&self, name: &str) -> PortResult<Option<Timestamp>> {
        let found = match self.object.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => {
                text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok())
            }
            Some(_) => None,
        };
        let found = found.ok_or_else(|| {
            self.wrong(name, "is not a moment such as \"2026-05-04T12:00:00Z\" or milliseconds since 1970")
        })?;
        Ok(Some(Timestamp(found)))
    }

    /// An object that may be absent.
    pub(crate) fn object(&self, name: &str) -> PortResult<Option<Self>> {
        let within = format!("{}{name}.", self.within);
        let fields = self.optional::<Map<String, Value>>(name)?;
        Ok(fields.map(|fields| Self { file: self.file.clone(), within, object: fields }))
    }

    /// The error that this field is not as it should be.
    pub(crate) fn wrong(&self, name: &str, why: &str) -> PortError {
        PortError::new(format!("reading {}", self.file.display()), format!("field {}{name} {why}", self.within))
    }
}

/// A moment as [`Fields::moment`] reads it, for people.
pub(crate) fn written(at: Timestamp) -> Value {
    let text = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    text.map_or_else(|| Value::from(at.0), |text| Value::from(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.json");
        for at in [0, 1, 1_777_777_777_777, u64::MAX].map(Timestamp) {
            fs::write(&file, serde_json::json!({ "at": written(at) }).to_string()).unwrap();
            assert_eq!(Fields::read(&file).unwrap().unwrap().moment("at").unwrap(), Some(at));
        }
        for bad in [r#""yesterday""#, "-1", "1.5", "true", r#""1969-01-01T00:00:00Z""#] {
            fs::write(&file, format!(r#"{{"at": {bad}}}"#)).unwrap();
            let error = Fields::read(&file).unwrap().unwrap().moment("at").unwrap_err().to_string();
            assert!(error.contains("x.json: field at is not a moment"), "{error}");
        }
    }
}
