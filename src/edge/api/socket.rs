//! Where connections come in. The Unix socket's file is made for the operator's group, taken over from
//! the dead only, and removed at the end.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

/// Connections of operators that wait in the kernel.
const BACKLOG: u32 = 16;
/// And of others.
const TCP_BACKLOG: u32 = 128;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to listen on {}: {source}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("failed to listen on {}: another process listens there", .0.display())]
    InUse(PathBuf),
    #[error("failed to listen on {}: what is there is not a socket", .0.display())]
    NotASocket(PathBuf),
    #[error("failed to listen on {address} ([api] listen): {source}")]
    ListenTcp { address: SocketAddr, source: io::Error },
}

/// Removes the file when dropped, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Listens with mode 0660. Nobody can connect before the mode is set.
pub fn listen(path: &Path) -> Result<(UnixListener, SocketFile), Error> {
    let failed = |source| Error::Listen { path: path.to_owned(), source };
    make_folder(path).map_err(failed)?;
    let socket = UnixSocket::new_stream().map_err(failed)?;
    match socket.bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            socket.bind(path).map_err(failed)?;
        }
        bound => bound.map_err(failed)?,
    }
    let file = SocketFile::of(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed)?;
    let listener = socket.listen(BACKLOG).map_err(failed)?;
    Ok((listener, file))
}

/// Also where connections of an earlier process are still winding up.
pub fn listen_tcp(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::ListenTcp { address, source };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    let listener = socket.listen(TCP_BACKLOG).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|it| (it.dev(), it.ino()) == (self.device, self.inode));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("failed to remove {}: {error}", self.path.display());
        }
    }
}

/// Under systemd RuntimeDirectory= has made it.
fn make_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn remove_stale(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Listen { path: path.to_owned(), source };
    if !fs::symlink_metadata(path).map_err(failed)?.file_type().is_socket() {
        return Err(Error::NotASocket(path.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        // Only a socket that nobody listens on refuses.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        _ => Err(Error::InUse(path.to_owned())),
    }
}
