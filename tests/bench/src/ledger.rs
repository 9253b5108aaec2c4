//! stub
use crate::report::Line;
use anyhow::Result;
use std::path::Path;
pub(crate) fn measure(_dir: &Path) -> Result<Vec<Line>> {
    Ok(vec![])
}
