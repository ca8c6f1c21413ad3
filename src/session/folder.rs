//! Where sessions lie, and a session's folder: every file in it is opened through the folder's descriptor, never follows a
//! link, and is its owner's alone, whatever the umask. Knows the files' names and modes, not what is in them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, fstat, fsync, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::engine::ids::Time;
use crate::error::{Error, Result};
use crate::fault::{self, Call};

use super::journal;

/// A session's name has at most so many bytes.
pub const MAX_NAME: usize = 80;
/// Of the names `name`, `name-2`, … so many are tried.
const MAX_TRIES: u32 = 1000;
/// Ends the name of a file that is being written and not yet renamed into place.
const TEMPORARY: &str = ".tmp";
/// The copy of the workflow's text in a session.
pub const WORKFLOW: &str = "workflow.ron";
/// The folder of the attempts' output files.
pub const LOG: &str = "log";
/// File of what only the session knows.
const SECRET: &str = "secret";

/// What of the process's surroundings says where things lie.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `QD_STATE_DIR`.
    pub state_dir: Option<OsString>,
    /// `XDG_STATE_HOME`.
    pub xdg_state_home: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
    /// The working folder.
    pub cwd: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    /// If there is no working folder (any more).
    pub fn of_process() -> Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cwd = std::env::current_dir().map_err(|error| {
            Error::usage(format!("there is no working folder: {error}")).hint("change into a folder that exists")
        })?;
        let (state_dir, home) = (set("QD_STATE_DIR"), set("HOME"));
        Ok(Self { state_dir, xdg_state_home: set("XDG_STATE_HOME"), home, cwd })
    }

    /// The folder of all that outlives a session: `QD_STATE_DIR`, else the user's state folder.
    ///
    /// # Errors
    /// If nothing says where that is.
    pub fn state_root(&self) -> Result<PathBuf> {
        if let Some(dir) = &self.state_dir {
            return Ok(self.cwd.join(dir));
        }
        // The XDG specification: a relative path is invalid and to be ignored.
        let xdg = self.xdg_state_home.as_ref().map(PathBuf::from).filter(|path| path.is_absolute());
        let home = self.home.as_ref().map(PathBuf::from).filter(|path| path.is_absolute());
        xdg.or_else(|| Some(home?.join(".local/state"))).map(|path| path.join("quarterdeck")).ok_or_else(|| {
            Error::usage("nothing says where to keep sessions: HOME is not set")
                .hint("set QD_STATE_DIR to a folder of yours, or make a folder `sessions` here")
        })
    }

    /// Where sessions lie: in `QD_STATE_DIR`, else in `sessions` of the working folder if there is one, else in the
    /// user's state folder.
    ///
    /// # Errors
    /// If nothing says where that is.
    pub fn sessions(&self) -> Result<PathBuf> {
        let here = self.cwd.join("sessions");
        if self.state_dir.is_none() && here.is_dir() {
            return Ok(here);
        }
        Ok(self.state_root()?.join("sessions"))
    }
}

/// The folder that sessions lie in.
#[derive(Debug)]
pub struct Sessions {
    path: PathBuf,
    dir: OwnedFd,
}

impl Sessions {
    /// Opens it, makes it if need be (0700), and refuses one that others could change under us.
    ///
    /// # Errors
    /// With what to do about it.
    pub fn open(path: &Path) -> Result<Self> {
        let dir = open_private_root(path)?;
        Ok(Self { path: path.to_owned(), dir })
    }

    /// Makes a session's folder. Without a name it gets one from the workflow's name and the time.
    ///
    /// # Errors
    /// If the name is not allowed or taken, or the folder cannot be made.
    pub fn create(&self, name: Option<&str>, workflow: &str, now: Time) -> Result<Folder> {
        if let Some(name) = name {
            check_name(name)?;
            return self.make(name)?.ok_or_else(|| {
                Error::usage(format!("there is a session {name:?} already"))
                    .hint(format!("qd resume {name}, or take another name"))
            });
        }
        let base = automatic_name(workflow, now);
        for number in 1..=MAX_TRIES {
            let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            if let Some(folder) = self.make(&name)? {
                return Ok(folder);
            }
        }
        Err(Error::usage(format!("there are {MAX_TRIES} sessions called {base:?} already")).hint("give --session NAME"))
    }

    /// `None` if the name is taken.
    fn make(&self, name: &str) -> Result<Option<Folder>> {
        let path = self.path.join(name);
        let cannot = |error: Errno| cannot("make the session folder", &path, error.into());
        match mkdirat(&self.dir, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(None),
            Err(error) => return Err(cannot(error)),
        }
        let folder = Folder { dir: open_dir(&self.dir, name).map_err(cannot)?, name: name.into(), path: path.clone() };
        fchmod(&folder.dir, Mode::RWXU).map_err(cannot)?;
        mkdirat(&folder.dir, LOG, Mode::RWXU).map_err(cannot)?;
        let log = open_dir(&folder.dir, LOG).map_err(cannot)?;
        fchmod(&log, Mode::RWXU).map_err(cannot)?;
        fsync(&folder.dir).and_then(|()| fsync(&self.dir)).map_err(cannot)?;
        Ok(Some(folder))
    }

    /// Opens a session's folder.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn folder(&self, name: &str) -> Result<Folder> {
        check_name(name)?;
        let path = self.path.join(name);
        match open_dir(&self.dir, name) {
            Ok(dir) => Ok(Folder { name: name.into(), path, dir }),
            Err(Errno::NOENT) => {
                Err(Error::usage(format!("there is no session {name:?} in {:?}", self.path)).hint("qd sessions"))
            }
            Err(error) => Err(cannot("open the session folder", &path, error.into())),
        }
    }

    /// The names of all folders in it that are sessions or may be, unsorted. At most so many as `limit`.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn names(&self, limit: usize) -> Result<Vec<String>> {
        let cannot = |error: Errno| cannot("read", &self.path, error.into());
        let entries = rustix::fs::Dir::read_from(&self.dir).map_err(cannot)?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(cannot)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if check_name(name).is_ok() && names.len() < limit {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A session's folder.
#[derive(Debug)]
pub struct Folder {
    name: String,
    path: PathBuf,
    dir: OwnedFd,
}

impl Folder {
    /// Opens a recording anywhere, for reading: it may be another user's, and writable by others.
    ///
    /// # Errors
    /// If it is no folder.
    pub fn recording(path: &Path) -> Result<Self> {
        let dir = openat(CWD, path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| cannot("open the session folder", path, error.into()))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, path: path.to_owned(), dir })
    }

    /// The session's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its descriptor, for files that others keep in it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Refuses a folder of somebody else; makes it its owner's alone.
    ///
    /// # Errors
    /// With what to do about it.
    pub fn make_private(&self) -> Result<()> {
        let cannot = |error: Errno| cannot("look at the session folder", &self.path, error.into());
        let stat = fstat(&self.dir).map_err(cannot)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(foreign(&self.path));
        }
        if stat.st_mode & 0o7777 != 0o700 {
            fchmod(&self.dir, Mode::RWXU).map_err(cannot)?;
        }
        Ok(())
    }

    /// Makes a new file (0600) that is only appended to.
    ///
    /// # Errors
    /// `AlreadyExists` too, a link of that name included.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)?;
        fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(file))
    }

    /// Opens a file of it for reading.
    ///
    /// # Errors
    /// If it is a link or no regular file, too.
    pub fn open_file(&self, name: &str) -> io::Result<File> {
        self.open_as(name, OFlags::RDONLY)
    }

    /// Opens a file of it for reading and appending, and makes it its owner's alone.
    ///
    /// # Errors
    /// If it is a link, no regular file, or another user's, too.
    pub fn open_file_for_appending(&self, name: &str) -> io::Result<File> {
        let file = self.open_as(name, OFlags::RDWR | OFlags::APPEND)?;
        let meta = file.metadata()?;
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
        }
        if meta.mode() & 0o7777 != 0o600 {
            fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        }
        Ok(file)
    }

    fn open_as(&self, name: &str, access: OFlags) -> io::Result<File> {
        // NONBLOCK: opening a pipe that was put here must not wait for its other end.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.dir, name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(file)
    }

    /// Replaces a file by one of these parts, or leaves it as it was: on the disk when this returns.
    ///
    /// # Errors
    /// As of any of the calls; the old file is then still there.
    pub fn replace_file(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let temporary = format!("{name}{TEMPORARY}");
        self.remove_file(&temporary)?;
        let result = self.write_then_rename(&temporary, name, parts);
        if result.is_err() {
            // Left over, it is in nobody's way: the next replacement and the next opening remove it.
            let _ = self.remove_file(&temporary);
        }
        result
    }

    fn write_then_rename(&self, temporary: &str, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = self.create_file(temporary)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        fault::hit(Call::Sync);
        file.sync_all()?;
        fault::hit(Call::Rename);
        renameat(&self.dir, temporary, &self.dir, name)?;
        fsync(&self.dir)?;
        Ok(())
    }

    /// What only this session knows: made once, from the machine's source of random bytes, and kept.
    ///
    /// # Errors
    /// It can neither be read nor made.
    pub fn secret(&self) -> io::Result<[u8; 32]> {
        let mut bytes = [0; 32];
        match self.read_file(SECRET, 32) {
            Ok(kept) if kept.len() == 32 => {
                bytes.copy_from_slice(&kept);
                return Ok(bytes);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        self.replace_file(SECRET, &[&bytes])?;
        Ok(bytes)
    }

    /// All of a file that has at most `limit` bytes.
    ///
    /// # Errors
    /// `FileTooLarge` too.
    pub fn read_file(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(name)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    /// Removes a file if it is there.
    ///
    /// # Errors
    /// As of unlink(2).
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what a crash left half-written. What cannot be removed is in nobody's way.
    pub fn remove_leftovers(&self) {
        for name in [super::checkpoint::FILE, WORKFLOW] {
            let _ = self.remove_file(&format!("{name}{TEMPORARY}"));
        }
    }

    /// Returns once the names in it are on the disk.
    ///
    /// # Errors
    /// As of fsync(2).
    pub fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.dir)?)
    }

    /// Whether the folder or its journal was deleted since: what is written then goes nowhere.
    pub fn is_gone(&self) -> bool {
        let same = |there: &rustix::fs::Stat| {
            fstat(&self.dir).is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino))
        };
        let there = statat(CWD, &self.path, AtFlags::empty());
        let journal = statat(&self.dir, journal::FILE, AtFlags::SYMLINK_NOFOLLOW);
        matches!(&there, Ok(there) if !same(there)) || [there.err(), journal.err()].contains(&Some(Errno::NOENT))
    }
}

/// Opens a folder for private things, made if need be; refuses it if others could change it or put another in its place.
///
/// # Errors
/// With what to do about it.
pub fn open_private_root(path: &Path) -> Result<OwnedFd> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| cannot("make the folder", path, error))?;
    let cannot = |error: Errno| cannot("open the folder", path, error.into());
    let dir = openat(CWD, path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(cannot)?;
    let ours = fstat(&dir).map_err(cannot)?;
    let us = rustix::process::geteuid().as_raw();
    if ours.st_uid != us && ours.st_uid != 0 {
        return Err(foreign(path));
    }
    let sticky = |mode: u32| mode & 0o1000 != 0;
    if ours.st_mode & 0o022 != 0 && !sticky(ours.st_mode) {
        return Err(Error::usage(format!("others may write into the folder {path:?}"))
            .hint(format!("chmod go-w {path:?}, or set QD_STATE_DIR to a folder of yours")));
    }
    let parent = statat(&dir, "..", AtFlags::empty()).map_err(cannot)?;
    // A group-writable parent is what umask 002 makes of every project folder: tolerated.
    if parent.st_mode & 0o002 != 0 && !sticky(parent.st_mode) {
        return Err(Error::usage(format!("everybody may replace the folder {path:?}"))
            .hint("chmod o-w its parent folder, or set QD_STATE_DIR to a folder of yours"));
    }
    Ok(dir)
}

fn open_dir(at: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    openat(at, name, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// An error about a path, with what the system says.
pub(super) fn cannot(what: &str, path: &Path, error: io::Error) -> Error {
    let full = Error::usage(format!("cannot {what} {path:?}: {error}"));
    match error.kind() {
        io::ErrorKind::StorageFull => full.hint("make room on the disk (also inodes: df -i), or set QD_STATE_DIR"),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            full.hint("set QD_STATE_DIR to a folder of yours that can be written")
        }
        _ => full,
    }
}

fn foreign(path: &Path) -> Error {
    Error::usage(format!("{path:?} belongs to another user")).hint("set QD_STATE_DIR to a folder of yours")
}

/// Whether a session may have this name.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_name(name: &str) -> Result<()> {
    let wrong = |why: &str| Err(Error::usage(format!("{name:?} cannot be a session's name: {why}")));
    if name.is_empty() {
        return wrong("it is empty");
    }
    if name.len() > MAX_NAME {
        return wrong("it is longer than 80 bytes");
    }
    if name.starts_with(['.', '-']) {
        return wrong("it begins with `.` or `-`");
    }
    if !name.chars().all(allowed) {
        return wrong("it has `/` or characters that cannot be seen");
    }
    Ok(())
}

/// Visible, by the standard library's table of what needs an escape: no control, zero-width or bidi characters.
fn allowed(c: char) -> bool {
    c != '/' && c != '\\' && (matches!(c, '"' | '\'') || c.escape_debug().len() == 1)
}

/// `workflow-20261122-170720`, with what is not allowed in a name replaced.
fn automatic_name(workflow: &str, now: Time) -> String {
    let mut base: String = workflow.chars().map(|c| if allowed(c) && !c.is_whitespace() { c } else { '-' }).collect();
    // Leaves room for the time and a number.
    base.truncate(base.floor_char_boundary(MAX_NAME - 24));
    let base = base.trim_start_matches(['.', '-']);
    let base = if base.is_empty() { "session" } else { base };
    let millis = i64::try_from(now.0).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    let local = time.to_zoned(jiff::tz::TimeZone::system());
    format!("{base}-{}", local.strftime("%Y%m%d-%H%M%S"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn around(state: Option<&str>, xdg: Option<&str>, home: Option<&str>, cwd: &Path) -> Surroundings {
        let [state_dir, xdg_state_home, home] = [state, xdg, home].map(|value| value.map(OsString::from));
        Surroundings { state_dir, xdg_state_home, home, cwd: cwd.to_owned() }
    }

    #[test]
    fn sessions_lie_where_the_first_of_state_dir_working_folder_xdg_and_home_says() {
        let temp = tempfile::tempdir().unwrap();
        let (bare, with) = (temp.path().join("bare"), temp.path().join("with"));
        std::fs::create_dir_all(with.join("sessions")).unwrap();
        let cases = [
            (around(Some("/s"), Some("/x"), Some("/h"), &with), Ok(PathBuf::from("/s/sessions"))),
            (around(Some("rel"), None, None, &bare), Ok(bare.join("rel/sessions"))),
            (around(None, Some("/x"), Some("/h"), &with), Ok(with.join("sessions"))),
            (around(None, Some("/x"), Some("/h"), &bare), Ok("/x/quarterdeck/sessions".into())),
            (around(None, Some("x"), Some("/h"), &bare), Ok("/h/.local/state/quarterdeck/sessions".into())),
            (around(None, None, None, &bare), Err(())),
        ];
        for (surroundings, expected) in cases {
            let got = surroundings.sessions();
            if let Err(error) = &got {
                assert!(error.hint.as_ref().unwrap().contains("QD_STATE_DIR"));
            }
            assert_eq!(got.map_err(|_| ()), expected, "{surroundings:?}");
        }
    }

    #[test]
    fn names_that_leave_the_folder_or_cannot_be_seen_are_refused() {
        for name in ["", ".", "..", ".hidden", "-f", "a/b", "a\0b", "a\nb", "a\u{1b}[2J", "a\u{202e}b", "a\u{200b}b"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name(&"x".repeat(81)).is_err());
        for name in ["a", "nightly build", "größe", "日本", "it's", "v1.2-rc_3", &"x".repeat(80)] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn automatic_names_are_allowed_and_unique_whatever_the_workflow_is_called() {
        let temp = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(&temp.path().join("sessions")).unwrap();
        for workflow in ["build", "", "../../etc", "\u{1b}]0;x\u{7}", &"ß".repeat(500), "-rf"] {
            for _ in 0..3 {
                let folder = sessions.create(None, workflow, Time(1_700_000_000_000)).unwrap();
                check_name(folder.name()).unwrap();
            }
        }
        assert_eq!(sessions.names(100).unwrap().len(), 18);
        assert!(sessions.create(Some("build"), "", Time(0)).is_ok());
        let error = sessions.create(Some("build"), "", Time(0)).unwrap_err();
        assert!(error.hint.unwrap().contains("qd resume build"));
        assert!(sessions.create(None, "x", Time(u64::MAX)).is_ok(), "a wild clock is no obstacle");
    }

    #[test]
    fn folders_others_can_write_into_are_refused_and_sticky_ones_are_not() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("sessions");
        let set = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        drop(Sessions::open(&root).unwrap());
        for (mode, fine) in [(0o755, true), (0o775, false), (0o757, false), (0o1777, true)] {
            set(&root, mode);
            assert_eq!(Sessions::open(&root).is_ok(), fine, "{mode:o}");
        }
        set(&root, 0o700);
        for (mode, fine) in [(0o775, true), (0o777, false), (0o1777, true)] {
            set(temp.path(), mode);
            assert_eq!(Sessions::open(&root).is_ok(), fine, "parent {mode:o}");
        }
    }

    #[test]
    fn links_pipes_and_folders_are_not_opened_as_files_and_not_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(&temp.path().join("sessions")).unwrap();
        let folder = sessions.create(Some("s"), "", Time(0)).unwrap();
        let foreign = temp.path().join("foreign");
        std::fs::write(&foreign, "theirs").unwrap();
        symlink(&foreign, folder.path().join("link")).unwrap();
        symlink(&foreign, folder.path().join("new.tmp")).unwrap();
        rustix::fs::mknodat(folder.fd(), "pipe", rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for name in ["link", "pipe", LOG] {
            assert!(folder.open_file(name).is_err(), "{name}");
            assert!(folder.open_file_for_appending(name).is_err(), "{name}");
            assert_eq!(folder.create_file(name).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        folder.replace_file("new", &[b"ours"]).unwrap();
        assert_eq!(folder.read_file("new", 4).unwrap(), b"ours");
        assert_eq!(folder.read_file("new", 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(std::fs::read(&foreign).unwrap(), b"theirs");
        symlink(folder.path(), sessions.path().join("linked")).unwrap();
        assert!(sessions.folder("linked").is_err());
    }

    #[test]
    fn a_folder_knows_when_it_or_its_journal_is_deleted_or_another_is_in_its_place() {
        let temp = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(&temp.path().join("sessions")).unwrap();
        let folder = sessions.create(Some("s"), "", Time(0)).unwrap();
        drop(folder.create_file(journal::FILE).unwrap());
        assert!(!folder.is_gone());
        folder.remove_file(journal::FILE).unwrap();
        assert!(folder.is_gone());
        drop(folder.create_file(journal::FILE).unwrap());
        std::fs::rename(folder.path(), temp.path().join("moved")).unwrap();
        assert!(folder.is_gone());
        std::fs::create_dir(folder.path()).unwrap();
        assert!(folder.is_gone());
    }
}
