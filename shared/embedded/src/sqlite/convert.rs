//! Between SQLite's values and the domain's types.

use std::error::Error;

use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::time::Timestamp;
use rusqlite::Row;

/// Result of work on a connection; whoever asked for it adds what was being done.
pub(crate) type Work<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// SQLite's integers are signed; what does not fit is refused, never wrapped.
pub(crate) fn signed(number: u64) -> Work<i64> {
    i64::try_from(number).map_err(|_| format!("the number {number} is too large to store").into())
}

pub(crate) fn unsigned(number: i64) -> Work<u64> {
    u64::try_from(number).map_err(|_| format!("a negative number ({number}) is stored where none can be").into())
}

/// A moment past the year 292 million is "never": as late as can be stored.
pub(crate) fn moment(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

pub(crate) fn seq_at(row: &Row<'_>, column: usize) -> Work<Seq> {
    Ok(Seq(unsigned(row.get(column)?)?))
}

pub(crate) fn time_at(row: &Row<'_>, column: usize) -> Work<Timestamp> {
    Ok(Timestamp(unsigned(row.get(column)?)?))
}

pub(crate) fn digest_at(row: &Row<'_>, column: usize) -> Work<Digest> {
    Ok(Digest::from_bytes(row.get::<_, [u8; 32]>(column)?))
}

pub(crate) fn target_at(row: &Row<'_>, column: usize) -> Work<TargetId> {
    Ok(row.get_ref(column)?.as_str()?.parse::<TargetId>()?)
}

/// Every row of a prepared query, converted.
pub(crate) fn rows<T>(mut rows: rusqlite::Rows<'_>, convert: impl Fn(&Row<'_>) -> Work<T>) -> Work<Vec<T>> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(convert(row)?);
    }
    Ok(all)
}

/// The first row of a prepared query, converted, if there is one.
pub(crate) fn first<T>(mut rows: rusqlite::Rows<'_>, convert: impl Fn(&Row<'_>) -> Work<T>) -> Work<Option<T>> {
    rows.next()?.map(convert).transpose()
}
