//! Which workflow files were seen and allowed: one small file per path with the hash of the content that was allowed. A
//! changed content is not trusted. Knows nothing of workflows or of who must ask.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::Result;

use super::folder::{Folder, Surroundings, cannot, open_private_root};

/// A file of the store has at most so many bytes.
const MAX_BYTES: u64 = 64 << 10;

/// The store.
#[derive(Debug)]
pub struct Trust {
    folder: Folder,
}

impl Trust {
    /// Opens the store in the user's state folder (`trust` there), made if need be.
    ///
    /// # Errors
    /// If there is no such folder, or others could change it.
    pub fn open(surroundings: &Surroundings) -> Result<Self> {
        let path = surroundings.state_root()?.join("trust");
        drop(open_private_root(&path)?);
        let folder = Folder::recording(&path)?;
        folder.make_private()?;
        Ok(Self { folder })
    }

    /// Whether just this content of this file was allowed. A store that cannot be read, or a file in it that is not the
    /// user's alone, allows nothing.
    pub fn is_trusted(&self, path: &Path, text: &[u8]) -> bool {
        let path = resolved(path);
        self.stored(&entry(&path)).is_ok_and(|stored| stored.lines().next() == Some(&hash_resolved(&path, text)))
    }

    fn stored(&self, entry: &str) -> io::Result<String> {
        let meta = self.folder.open_file(entry)?.metadata()?;
        if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        String::from_utf8(self.folder.read_file(entry, MAX_BYTES)?).map_err(io::Error::other)
    }

    /// Allows this content of this file, in place of what was allowed before.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub fn trust(&self, path: &Path, text: &[u8]) -> Result<()> {
        let path = resolved(path);
        // The path is for a person who looks into the store; the name of the entry and the hash cover it.
        let stored = format!("{}\n{:?}\n", hash_resolved(&path, text), path);
        self.folder
            .replace_file(&entry(&path), &[stored.as_bytes()])
            .map_err(|error| cannot("remember what is trusted in", self.folder.path(), error))
    }
}

/// What an operator names by `--trust`: SHA-256 in hex over the file's absolute path and its content. The same content
/// elsewhere has another hash: its commands would run in another place.
pub fn hash(path: &Path, text: &[u8]) -> String {
    hash_resolved(&resolved(path), text)
}

fn hash_resolved(path: &Path, text: &[u8]) -> String {
    let path = path.as_os_str().as_bytes();
    let mut hasher = Sha256::new();
    // The length keeps a byte from moving between path and content.
    hasher.update((path.len() as u64).to_le_bytes());
    hasher.update(path);
    hasher.update(text);
    hex(&hasher.finalize())
}

/// The name of a path's file in the store.
fn entry(path: &Path) -> String {
    hex(&Sha256::digest(path.as_os_str().as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every text");
        text
    })
}

/// Where the file really is, so that a link to it is not another file.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn store(root: &Path) -> Trust {
        let state_dir = Some(root.join("state").into_os_string());
        Trust::open(&Surroundings { state_dir, cwd: root.into(), ..Surroundings::default() }).unwrap()
    }

    #[test]
    fn only_the_content_that_was_seen_at_the_path_where_it_was_seen_is_trusted() {
        let temp = tempfile::tempdir().unwrap();
        let [here, there, link] = ["a.ron", "b.ron", "link.ron"].map(|name| temp.path().join(name));
        std::fs::write(&here, "x").unwrap();
        std::os::unix::fs::symlink(&here, &link).unwrap();
        let trust = store(temp.path());
        assert!(!trust.is_trusted(&here, b"x"));
        trust.trust(&here, b"x").unwrap();
        assert!(trust.is_trusted(&here, b"x") && trust.is_trusted(&link, b"x"));
        assert!(!trust.is_trusted(&here, b"y") && !trust.is_trusted(&there, b"x"));
        assert!(store(temp.path()).is_trusted(&here, b"x"), "kept on the disk");
        trust.trust(&here, b"y").unwrap();
        assert!(trust.is_trusted(&here, b"y") && !trust.is_trusted(&here, b"x"), "only the last content");
    }

    #[test]
    fn a_store_entry_that_others_could_have_written_is_not_believed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.ron");
        let trust = store(temp.path());
        trust.trust(&path, b"x").unwrap();
        let entry = temp.path().join("state/trust").join(entry(&resolved(&path)));
        assert_eq!(entry.metadata().unwrap().mode() & 0o7777, 0o600);
        for mode in [0o620, 0o602] {
            std::fs::set_permissions(&entry, PermissionsExt::from_mode(mode)).unwrap();
            assert!(!trust.is_trusted(&path, b"x"), "{mode:o}");
        }
        std::fs::set_permissions(&entry, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(trust.is_trusted(&path, b"x"));
        let moved = temp.path().join("moved");
        std::fs::rename(&entry, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &entry).unwrap();
        assert!(!trust.is_trusted(&path, b"x"));
    }

    #[test]
    fn the_hash_is_sha_256_over_length_path_and_content() {
        let text = hash(Path::new("/no/such/file"), b"abc");
        assert_eq!(text, "f346af05318527b783683c3a3e2d326f4645709fad576733c1b89e6ade541df4");
        assert_ne!(hash(Path::new("/a/bc"), b"d"), hash(Path::new("/a/b"), b"cd"));
    }
}
