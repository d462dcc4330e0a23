//! Unix sockets in the file system: made where clients look for them, and taken away at the end. A socket left behind by a run that was killed is
//! replaced; what is no socket, or one on which somebody still listens, is left alone and an error.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;

/// The mode of a socket for everybody, as the Datadog Agent's: writing is what connecting and sending need.
pub const MODE_OF_ALL: u32 = 0o722;

/// The file of a bound socket; removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // somebody else was faster
    }
}

/// A stream socket that listens at `path`.
pub fn listen(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    bind(path, mode, |path| UnixListener::bind(path))
}

/// A datagram socket at `path`.
pub fn datagram(path: &Path, mode: u32) -> io::Result<(UnixDatagram, SocketFile)> {
    bind(path, mode, |path| UnixDatagram::bind(path))
}

fn bind<T>(path: &Path, mode: u32, bind: impl Fn(&Path) -> io::Result<T>) -> io::Result<(T, SocketFile)> {
    if fs::symlink_metadata(path).is_ok() {
        remove_stale(path)?;
    }
    let socket = bind(path)?;
    let file = SocketFile { path: path.to_owned() };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok((socket, file))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    let probe = UnixDatagram::unbound()?;
    // Whoever listens answers one of the two; a socket of the other type says so.
    if UnixStream::connect(path).is_ok() || probe.connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mote-socket-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder.join(name)
    }

    #[test]
    fn a_stale_socket_is_replaced_and_the_file_goes_with_its_owner() {
        let path = path("stale");
        drop(UnixDatagram::bind(&path).unwrap());
        let (_socket, file) = datagram(&path, MODE_OF_ALL).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE_OF_ALL);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_in_use_and_a_plain_file_are_left_alone() {
        for name in ["stream", "datagram"] {
            let path = path(name);
            let _stream = (name == "stream").then(|| UnixListener::bind(&path).unwrap());
            let _datagram = (name == "datagram").then(|| UnixDatagram::bind(&path).unwrap());
            assert_eq!(listen(&path, MODE_OF_ALL).unwrap_err().kind(), io::ErrorKind::AddrInUse, "{name}");
        }
        let path = path("file");
        fs::write(&path, "text").unwrap();
        assert_eq!(datagram(&path, MODE_OF_ALL).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }
}
