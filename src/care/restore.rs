//! Paths saved before a task's first attempt and put back before another. A copy is complete or absent: it is made aside
//! and renamed; putting back starts from the copy, which stays as it is, so a kill at any instant leaves something from
//! which it is done again. Files are shared with the copy where the file system can (reflink). Kept: names, bytes, modes,
//! times, symbolic links. Not kept: owners, hard links, sparse holes, extended attributes; sockets and pipes are left out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::order::{self, Order};

/// At most so many files are saved of one task.
const FILES_MOST: u64 = 1_000_000;
/// So much of the disk stays free.
const FREE_KEPT: u64 = 256 << 20;
/// Nothing is nested deeper.
const DEPTH_MOST: usize = 200;
/// The list of what was saved, in the copy.
const LIST: &str = "list";

/// Where a task's copies are.
pub struct Store<'o> {
    paths: &'o [String],
    /// Complete.
    saved: PathBuf,
    /// Being made.
    making: PathBuf,
    /// The folder of both.
    folder: PathBuf,
    /// Begins the names of this task's copies.
    prefix: String,
}

/// What was at a path.
#[derive(Serialize, Deserialize)]
struct Entry {
    path: String,
    /// There was something: it is in the copy under its number.
    there: bool,
}

#[derive(Default)]
struct Sum {
    files: u64,
    bytes: u64,
    shared: u64,
    /// Bytes that may still be copied.
    room: u64,
}

impl Sum {
    /// What is copied goes where `folder` is; a full disk would stop everybody's work.
    fn into(folder: &Path) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(Self { room: free.saturating_sub(FREE_KEPT), ..Self::default() })
    }
}

impl<'o> Store<'o> {
    /// Those of an order. What was saved before an earlier success is another copy, by its number.
    pub fn of(order_path: &Path, order: &'o Order) -> Self {
        let folder = order_path.parent().map_or_else(PathBuf::new, Path::to_owned);
        let prefix = format!("{}.", order.task.0);
        let name = format!("{prefix}{}", order.since.0);
        let (saved, making) = (folder.join(format!("{name}.saved")), folder.join(format!("{name}.saving")));
        Self { paths: &order.care.restore, saved, making, folder, prefix }
    }

    /// A complete copy is there.
    pub fn is_saved(&self) -> bool {
        self.saved.join(LIST).exists()
    }

    /// Makes the copy.
    ///
    /// # Errors
    /// What cannot be saved, in words.
    pub fn save(&self) -> Result<String, String> {
        self.remove_older();
        let said = |path: &str, error: io::Error| format!("{path} cannot be saved: {error}");
        let here = |error| said("the session", error);
        remove(&self.making).and_then(|()| fs::DirBuilder::new().mode(0o700).create(&self.making)).map_err(here)?;
        let mut sum = Sum::into(&self.making).map_err(here)?;
        let mut list = Vec::new();
        for (number, path) in self.paths.iter().enumerate() {
            self.refuse(path)?;
            let there = match fs::symlink_metadata(path) {
                Ok(_) => true,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => false,
                Err(error) => return Err(said(path, error)),
            };
            if there {
                let into = self.making.join(number.to_string());
                copy(Path::new(path), &into, 0, &mut sum).map_err(|error| said(path, error))?;
            }
            list.push(Entry { path: path.clone(), there });
        }
        let bytes = serde_json::to_vec(&list).map_err(|error| error.to_string())?;
        let done = order::write(&self.making.join(LIST), &bytes).and_then(|()| fs::rename(&self.making, &self.saved));
        done.map_err(here)?;
        let absent = list.iter().filter(|entry| !entry.there).count();
        Ok(format!(
            "saved {}{}",
            sum.words(),
            if absent > 0 { format!(", {absent} not there yet") } else { String::new() }
        ))
    }

    /// Puts the copy back.
    ///
    /// # Errors
    /// What cannot be put back, in words.
    pub fn put_back(&self) -> Result<String, String> {
        let said = |path: &str, error: &dyn std::fmt::Display| format!("{path} cannot be put back: {error}");
        let list: Vec<Entry> = order::read(&self.saved.join(LIST))
            .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
            .map_err(|error| said("what was saved", &error))?;
        let mut sum = Sum { room: u64::MAX, ..Sum::default() };
        for (number, entry) in list.iter().enumerate() {
            self.refuse(&entry.path)?;
            let copy = entry.there.then(|| self.saved.join(number.to_string()));
            replace(Path::new(&entry.path), copy.as_deref(), &mut sum).map_err(|error| said(&entry.path, &error))?;
        }
        let absent = list.iter().filter(|entry| !entry.there).count();
        Ok(format!(
            "put back {}{}",
            sum.words(),
            if absent > 0 { format!(", {absent} not there before") } else { String::new() }
        ))
    }

    /// It has succeeded: nothing is put back any more.
    pub fn forget(&self) {
        if !self.paths.is_empty() {
            self.remove_older();
        }
    }

    /// A path that would take the copy itself with it.
    fn refuse(&self, path: &str) -> Result<(), String> {
        let real = |path: &Path| path.canonicalize();
        match (real(Path::new(path)), real(&self.folder)) {
            (Ok(path_there), Ok(folder)) if folder.starts_with(&path_there) => {
                Err(format!("{path} cannot be saved: the session itself is in it"))
            }
            _ => Ok(()),
        }
    }

    /// Copies from before earlier successes.
    fn remove_older(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with(&self.prefix)) else { continue };
            if name.ends_with(".saved") || name.ends_with(".saving") {
                // Left over it costs room, no more.
                let _ = remove(&entry.path());
            }
        }
    }
}

impl Sum {
    fn words(&self) -> String {
        let files = format!("{} file{}", self.files, if self.files == 1 { "" } else { "s" });
        let shared = if self.shared > 0 { format!(", {} of them by reflink", self.shared) } else { String::new() };
        format!("{files} ({} KiB{shared})", self.bytes.div_ceil(1024))
    }
}

/// Puts a copy, or nothing, in the place of `path`. It is complete under another name before that is emptied.
fn replace(path: &Path, saved: Option<&Path>, sum: &mut Sum) -> io::Result<()> {
    let aside = |word: &str| -> io::Result<PathBuf> {
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name,
            _ => return Err(io::Error::new(ErrorKind::InvalidInput, "it has no name")),
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(word);
        Ok(path.parent().unwrap_or(Path::new("")).join(hidden))
    };
    let (new, old) = (aside(".qd-new")?, aside(".qd-old")?);
    remove(&new)?;
    if let Some(saved) = saved {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        copy(saved, &new, 0, sum)?;
    }
    remove(&old)?;
    match fs::rename(path, &old) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Err(error),
        _ => {}
    }
    if saved.is_some() {
        fs::rename(&new, path)?;
    }
    remove(&old)
}

/// Removes whatever is there, also folders that their owner may not write into.
pub fn remove(path: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(error),
    };
    if !meta.is_dir() {
        return fs::remove_file(path);
    }
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    for entry in walkdir::WalkDir::new(path) {
        if let Ok(entry) = entry
            && entry.file_type().is_dir()
        {
            let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700));
        }
    }
    fs::remove_dir_all(path)
}

/// Copies a file, a link or a folder with all in it.
fn copy(from: &Path, to: &Path, depth: usize, sum: &mut Sum) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    let kind = meta.file_type();
    if depth > DEPTH_MOST || sum.files >= FILES_MOST {
        return Err(io::Error::other(format!("more than {FILES_MOST} files, or nested deeper than {DEPTH_MOST}")));
    }
    if kind.is_symlink() {
        sum.files += 1;
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy(&from.join(&name), &to.join(&name), depth + 1, sum)?;
        }
        return keep_meta(to, &meta);
    }
    if kind.is_file() {
        sum.files += 1;
        sum.bytes += meta.len();
        copy_file(from, to, sum)?;
        return keep_meta(to, &meta);
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, sum: &mut Sum) -> io::Result<()> {
    let source = super::files::open(from)?;
    let mut copy: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    if rustix::fs::ioctl_ficlone(&copy, &source).is_ok() {
        sum.shared += 1;
        return Ok(());
    }
    let most = sum.room.saturating_add(1);
    let copied = io::copy(&mut source.take(most), &mut copy)?;
    sum.room = sum.room.checked_sub(copied).ok_or_else(|| io::Error::other("the disk has no room for a copy of it"))?;
    Ok(())
}

/// Mode and times. A build tool judges by times.
fn keep_meta(path: &Path, meta: &fs::Metadata) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::care::Care;
    use crate::engine::ids::{Attempt, TaskId};

    fn order(paths: Vec<String>) -> Order {
        let care = Care { restore: paths, ..Care::default() };
        Order {
            task: TaskId(7),
            since: Attempt(1),
            care,
            command: String::new(),
            force: false,
            env: String::new(),
            groups: None,
        }
    }

    /// Name, content or link target, mode and time of all below a path.
    fn picture(path: &Path) -> Vec<String> {
        let mut lines: Vec<String> = walkdir::WalkDir::new(path)
            .sort_by_file_name()
            .into_iter()
            .map(|entry| {
                let entry = entry.unwrap();
                let meta = entry.path().symlink_metadata().unwrap();
                let content = match () {
                    () if meta.is_file() => fs::read_to_string(entry.path()).unwrap(),
                    () if meta.is_symlink() => format!("{:?}", fs::read_link(entry.path()).unwrap()),
                    () => String::new(),
                };
                let time = if meta.is_symlink() { 0 } else { meta.mtime_nsec() };
                format!("{:?} {content} {:o} {time}", entry.path(), meta.mode())
            })
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_was_saved_is_put_back_as_it_was_as_often_as_asked() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        let text = |name: &str| at(name).to_str().unwrap().to_owned();
        fs::create_dir_all(at("work/target/deep")).unwrap();
        fs::write(at("work/target/deep/a"), "one").unwrap();
        symlink("deep/a", at("work/target/link")).unwrap();
        symlink("/nowhere", at("work/dangling")).unwrap();
        fs::write(at("work/db"), "rows").unwrap();
        fs::set_permissions(at("work/db"), fs::Permissions::from_mode(0o640)).unwrap();
        let names = ["work/target", "work/db", "work/dangling", "work/absent"];
        let order = order(names.iter().map(|name| text(name)).collect());
        fs::create_dir(at("care")).unwrap();
        let store = Store::of(&at("care/7.1.order"), &order);
        // The folders themselves are written into below, so their times are left out of the picture.
        let before = picture(&at("work/target"));
        let db = picture(&at("work/db"));
        // A kill in the middle left this.
        fs::create_dir(at("care/7.1.saving")).unwrap();
        assert!(!store.is_saved());
        store.save().unwrap();
        assert!(store.is_saved() && !at("care/7.1.saving").exists());
        for round in 0..2 {
            fs::remove_file(at("work/db")).unwrap();
            fs::write(at("work/target/deep/a"), "other").unwrap();
            fs::write(at("work/target/new"), "new").unwrap();
            fs::write(at("work/absent"), "made").unwrap();
            fs::remove_file(at("work/dangling")).unwrap();
            if round == 1 {
                // A kill while it was put back: the old aside, the new half made.
                fs::rename(at("work/target"), at("work/.target.qd-old")).unwrap();
                fs::create_dir(at("work/.target.qd-new")).unwrap();
            }
            store.put_back().unwrap();
            assert_eq!(picture(&at("work/target")), before);
            assert_eq!(picture(&at("work/db")), db);
            assert_eq!(fs::read_link(at("work/dangling")).unwrap(), Path::new("/nowhere"));
            assert!(!at("work/absent").exists());
            assert_eq!(fs::read_dir(at("work")).unwrap().count(), 3, "nothing is left aside");
        }
    }

    #[test]
    fn a_folder_that_holds_the_session_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("care")).unwrap();
        let order = order(vec![temp.path().to_str().unwrap().to_owned()]);
        let store = Store::of(&temp.path().join("care/7.1.order"), &order);
        assert!(store.save().unwrap_err().contains("the session itself"));
    }
}
