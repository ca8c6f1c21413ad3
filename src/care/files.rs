//! Files by paths, folders and globs, in an order that is the same every time, and the SHA-256 of what is in them. Knows
//! nothing of what they are for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::order::hex;

/// Inputs and outputs are at most so many files each.
pub const FILES_MOST: usize = 100_000;
/// A walk looks at most at so many entries.
const ENTRIES_MOST: usize = 1_000_000;
/// Links to folders are not followed, and nothing is nested deeper.
const DEPTH_MOST: usize = 128;

/// Files by name, with the SHA-256 of each.
pub type Digests = BTreeMap<String, String>;

/// The digests of all that these patterns name.
///
/// # Errors
/// What cannot be read, what is too much, or a pattern that names nothing if `each` must; in words.
pub fn digests(patterns: &[String], each: bool) -> Result<Digests, String> {
    let mut all = Digests::new();
    for pattern in patterns {
        let files = expand(pattern)?;
        if files.is_empty() && each {
            return Err(format!("{pattern} is missing"));
        }
        for path in files {
            let name = path.to_string_lossy().into_owned();
            if all.len() == FILES_MOST && !all.contains_key(&name) {
                return Err(format!("more than {FILES_MOST} files"));
            }
            let digest = digest(&path).map_err(|error| format!("{name} cannot be read: {error}"))?;
            all.insert(name, digest);
        }
    }
    Ok(all)
}

/// Whether a text stands for several files.
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// A matcher of whole paths: `*` and `?` stop at `/`, `**` does not.
fn matcher(pattern: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| format!("{pattern}: {}", error.kind()))
}

/// The files of a pattern, sorted: itself, all below a folder, or all that a glob matches.
///
/// # Errors
/// A folder that cannot be read, or too much.
pub fn expand(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let (root, matcher) =
        if is_glob(pattern) { (root_of(pattern), Some(matcher(pattern)?)) } else { (PathBuf::from(pattern), None) };
    let start = if root.as_os_str().is_empty() { Path::new(".") } else { &root };
    if fs::symlink_metadata(start).is_err() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    // A link that is named itself is followed, others are taken for what they are.
    for (seen, entry) in WalkDir::new(start).max_depth(DEPTH_MOST).sort_by_file_name().into_iter().enumerate() {
        let entry = entry.map_err(|error| format!("{pattern}: {error}"))?;
        if seen == ENTRIES_MOST {
            return Err(format!("{pattern}: more than {ENTRIES_MOST} files to look through"));
        }
        if entry.file_type().is_dir() {
            continue;
        }
        let path = entry.path().strip_prefix(".").unwrap_or(entry.path());
        if matcher.as_ref().is_none_or(|matcher| matcher.is_match(path)) {
            found.push(path.to_owned());
        }
    }
    found.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(found)
}

/// The part of a glob before its first part with a sign.
fn root_of(pattern: &str) -> PathBuf {
    let plain = Path::new(pattern).components().take_while(|part| !is_glob(&part.as_os_str().to_string_lossy()));
    plain.collect()
}

/// SHA-256 of a file's content; of a link, of where it points.
///
/// # Errors
/// It cannot be read, or is neither.
pub fn digest(path: &Path) -> io::Result<String> {
    let meta = fs::symlink_metadata(path)?;
    let mut sum = Sha256::new();
    if meta.file_type().is_symlink() {
        sum.update(b"link ");
        sum.update(fs::read_link(path)?.as_os_str().as_bytes());
        return Ok(hex(&sum.finalize()));
    }
    let mut file = open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&sum.finalize())),
            count => sum.update(&buffer[..count]),
        }
    }
}

/// Opens a regular file: one that is none (a pipe would be waited for) is refused.
///
/// # Errors
/// As of open(2).
pub fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_folders_and_globs_name_files_in_the_order_of_their_bytes() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().to_str().unwrap();
        for path in ["src/b.rs", "src/a.rs", "src/deep/c.rs", "src/deep/d.txt", "x.toml"] {
            let path = temp.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink("..", temp.path().join("src/loop")).unwrap();
        let names = |pattern: &str| -> Vec<String> {
            let found = expand(&format!("{root}/{pattern}")).unwrap();
            found.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("src/*.rs"), ["src/a.rs", "src/b.rs"]);
        assert_eq!(names("src/**/*.rs"), ["src/a.rs", "src/b.rs", "src/deep/c.rs"]);
        assert_eq!(names("src/deep"), ["src/deep/c.rs", "src/deep/d.txt"]);
        assert_eq!(names("*.toml"), ["x.toml"]);
        assert_eq!(names("x.toml"), ["x.toml"]);
        assert_eq!(names("nothing/*"), Vec::<String>::new());
        assert_eq!(names("src/l*"), ["src/loop"], "a link is a file");
        assert!(digests(&[format!("{root}/none")], true).unwrap_err().contains("is missing"));
        assert_eq!(digests(&[format!("{root}/none")], false).unwrap().len(), 0);
    }
}
