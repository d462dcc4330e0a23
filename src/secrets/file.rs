//! The key out of a file: its first line.

use crate::config::Secret;
use crate::secrets::SourceError;
use crate::sys::files;
use std::path::Path;
use zeroize::Zeroizing;

const BYTES_MAX: usize = 4 * 1024;

/// The first line of the file at `path`. Warns when everyone may read it.
pub fn resolve(path: &Path) -> Result<Secret, SourceError> {
    let content =
        files::read_small(path, BYTES_MAX).map_err(|err| SourceError::Permanent(format!("{}: {err}", path.display())))?;
    let content = Zeroizing::new(content);
    if files::is_world_readable(path) {
        log::warn!("{} holds the API key and can be read by every user", path.display());
    }
    let line = content.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let text = std::str::from_utf8(line).map_err(|_| SourceError::Permanent(format!("{} holds no text", path.display())))?;
    Ok(Secret::new(text.to_owned()))
}
