//! The file of a Unix stream socket: made, opened to everyone, and taken away again.
//!
//! What lies in its place is looked at first. A socket that nobody listens on was left by a process that was killed and goes; one
//! that somebody listens on stays, since its clients would be cut off; anything else is not ours to remove. The reference agent
//! takes a living socket's place as well. Source: reference agent 7.80, pkg/trace/api.

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
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;

/// Everyone may connect, which takes the right to write; only the owner may do more.
const MODE: u32 = 0o722;

/// A socket's file, which goes with this value unless another one has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
        make_place(path)?;
        let listener = UnixListener::bind(path)?;
        let metadata = fs::metadata(path)?;
        let file = SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() };
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        Ok((listener, file))
    }

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

fn make_place(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(ErrorKind::AlreadyExists, "what is there is no socket"))
        }
        Ok(_) if is_listened_on(path) => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
        Ok(_) => fs::remove_file(path),
    }
}

/// Asks the system's table of sockets: connecting would tell too, but may hang when the other side does not accept. Where there is
/// no table, nobody is assumed to.
fn is_listened_on(path: &Path) -> bool {
    let Ok(table) = File::open("/proc/net/unix") else { return false };
    // Num RefCount Protocol Flags Type St Inode Path; bit 16 of the flags is set when it listens.
    let listens_here = |line: Vec<u8>| {
        let mut columns = line.splitn(8, |byte| *byte == b' ').skip(3);
        let flags = columns.next().and_then(|flags| u32::from_str_radix(str::from_utf8(flags).ok()?, 16).ok());
        let ends_in_path = line.strip_suffix(path.as_os_str().as_encoded_bytes()).is_some_and(|rest| rest.ends_with(b" "));
        ends_in_path && flags.is_some_and(|flags| flags & (1 << 16) != 0)
    };
    BufReader::new(table).split(b'\n').map_while(Result::ok).any(listens_here)
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
    fn everyone_may_connect_and_the_file_goes_in_the_end() {
        let path = place("mode");
        let (listener, file) = SocketFile::listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o722);
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_nobody_listens_on_goes_and_one_that_lives_stays() {
        let path = place("stale");
        drop(UnixListener::bind(&path).unwrap());
        let (_listener, _file) = SocketFile::listen(&path).unwrap();
        assert_eq!(SocketFile::listen(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let path = place("file");
        fs::write(&path, "precious").unwrap();
        assert_eq!(SocketFile::listen(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn the_file_of_another_that_took_the_place_stays() {
        let path = place("successor");
        let (_listener, file) = SocketFile::listen(&path).unwrap();
        fs::rename(&path, path.with_extension("moved")).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert_eq!(SocketFile::listen(Path::new("/nowhere/at/all.socket")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
