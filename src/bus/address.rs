//! Where a session's socket is: in its folder, which is its owner's alone. It is named by way of the folder's descriptor, so
//! that neither the length of the path (108 bytes are possible) nor a link put into it matters.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;

/// The socket's name in the folder of a session.
pub const SOCKET: &str = "socket";

/// The socket as this process can bind or connect it, while the folder stays open.
pub fn within(folder: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}
