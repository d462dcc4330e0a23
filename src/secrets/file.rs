//! The key out of a file: its first line.

use crate::secrets::SourceError;
use crate::sys::files;
use std::path::Path;

const BYTES_MAX: usize = 4 * 1024;

/// The first line of the file at `path`. Warns when everyone may read it.
pub fn resolve(path: &Path) -> Result<String, SourceError> {
    let content =
        files::read_small(path, BYTES_MAX).map_err(|err| SourceError::Permanent(format!("{}: {err}", path.display())))?;
    if files::is_world_readable(path) {
        log::warn!("{} holds the API key and can be read by every user", path.display());
    }
    let text = String::from_utf8_lossy(&content);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
