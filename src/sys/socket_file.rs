//! Unix sockets in the file system: made where clients look for them, and taken away again.
//!
//! What lies in their place is looked at first. A socket that nobody holds was left by a process that was killed and goes; one that is in
//! use stays, since its clients would be cut off (the reference agent takes its place); anything else is not ours to remove.

use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;

/// Everyone may connect and send, which takes the right to write; only the owner may do more. As the Datadog Agent's sockets.
pub const MODE_OF_ALL: u32 = 0o722;

/// A socket's file, which goes with this value unless another one has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode);
        if fs::metadata(&self.path).is_ok_and(is_ours) {
            let _ = fs::remove_file(&self.path); // the next start finds it stale
        }
    }
}

/// A stream socket that listens at `path`, whose file has this mode.
pub fn listen(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    make_place(path)?;
    Ok((UnixListener::bind(path)?, finish(path, mode)?))
}

/// A datagram socket at `path`, whose file has this mode.
pub fn datagram(path: &Path, mode: u32) -> io::Result<(UnixDatagram, SocketFile)> {
    make_place(path)?;
    Ok((UnixDatagram::bind(path)?, finish(path, mode)?))
}

fn finish(path: &Path, mode: u32) -> io::Result<SocketFile> {
    let metadata = fs::metadata(path)?;
    let file = SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(file)
}

fn make_place(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(ErrorKind::AlreadyExists, "what is there is no socket"))
        }
        Ok(_) if is_in_use(path) => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
        Ok(_) => fs::remove_file(path),
    }
}

/// Asks the system's table of sockets, whose lines end in the path that a socket is bound to: connecting would tell too, but may hang when
/// the other side does not accept. Where there is no table, nobody is assumed to.
fn is_in_use(path: &Path) -> bool {
    let Ok(table) = File::open("/proc/net/unix") else { return false };
    let path = path.as_os_str().as_encoded_bytes();
    let is_bound_here = |line: Vec<u8>| line.strip_suffix(path).is_some_and(|rest| rest.ends_with(b" "));
    BufReader::new(table).split(b'\n').map_while(Result::ok).any(is_bound_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mote-socket-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder.join("apm.socket")
    }

    #[test]
    fn the_file_has_its_mode_and_goes_in_the_end() {
        let path = place("mode");
        let (listener, file) = listen(&path, 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop((listener, file));
        assert!(!path.exists());
        let (_socket, _file) = datagram(&path, MODE_OF_ALL).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o722);
    }

    #[test]
    fn a_socket_that_nobody_holds_goes_and_one_that_lives_stays() {
        let path = place("stale");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, file) = listen(&path, MODE_OF_ALL).unwrap();
        assert_eq!(datagram(&path, MODE_OF_ALL).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(path.exists());
        drop((listener, file));
        drop(UnixDatagram::bind(&path).unwrap());
        let (_socket, _file) = datagram(&path, MODE_OF_ALL).unwrap();
        assert_eq!(listen(&path, MODE_OF_ALL).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let path = place("file");
        fs::write(&path, "precious").unwrap();
        assert_eq!(listen(&path, MODE_OF_ALL).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn the_file_of_another_that_took_the_place_stays() {
        let path = place("successor");
        let (_listener, file) = listen(&path, MODE_OF_ALL).unwrap();
        fs::rename(&path, path.with_extension("moved")).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert_eq!(listen(Path::new("/nowhere/at/all.socket"), MODE_OF_ALL).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
