//! stub
use crate::report::Line;
use anyhow::Result;
pub(crate) fn measure() -> Result<Vec<Line>> {
    Ok(vec![])
}
pub(crate) fn listen() -> Result<()> {
    Ok(())
}
