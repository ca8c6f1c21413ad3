//! A control group for the processes of one attempt, where this machine lets us make one: then the kernel itself bounds
//! their memory (also shared memory and what lies in a tmpfs) and nothing is faster than the bound. It is made in our own
//! group (so what bounds us bounds them), or in a folder that the person at the keys names. Knows nothing of tasks.
//!
//! In cgroup v1 memory is a hierarchy of its own, and any group may hold both processes and groups. In v2 the group that
//! we are in may not, unless it is the root: there a folder has to be named. Nobody else's group is ever changed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Groups of ours are called so, followed by the pid of who made them.
const PREFIX: &str = "qd-";
/// At most so many entries are looked at for groups that nobody is left to remove.
const SWEPT_MOST: usize = 4096;
/// A group whose last process has just been killed is busy for a moment.
const REMOVAL: (u32, Duration) = (50, Duration::from_millis(2));

/// One group; removed with this value, if nothing is left in it.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// Makes one in which all processes together get at most so many bytes; none if that cannot be had here. `named` is the
    /// folder that it is made in, else it is our own group.
    pub fn make(named: Option<&Path>, memory: u64) -> Option<Self> {
        let parent = named.map(Path::to_path_buf).or_else(own_folder)?;
        let version = version(&parent)?;
        sweep(&parent);
        let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        // From here on it is removed again whatever fails.
        let group = Self { folder, version };
        group.limit(memory).ok()?;
        Some(group)
    }

    fn limit(&self, memory: u64) -> io::Result<()> {
        let memory = memory.to_string();
        let set = |name: &str, value: &str| fs::write(self.folder.join(name), value);
        match self.version {
            Version::One => {
                set("memory.limit_in_bytes", &memory)?;
                // With swap the bound would be none; a kernel without that account has none to give.
                let _ = set("memory.memsw.limit_in_bytes", &memory);
                // Who wants more waits until the whole tree is killed, rather than that one process of it is.
                let _ = set("memory.oom_control", "1");
            }
            Version::Two => {
                set("memory.max", &memory)?;
                let _ = set("memory.swap.max", "0");
                let _ = set("memory.oom.group", "1");
            }
        }
        Ok(())
    }

    /// Whoever writes `0` to it is in the group, with all that it starts.
    ///
    /// # Errors
    /// As of opening a file.
    pub fn door(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.folder.join("cgroup.procs"))
    }

    /// Its processes want more than they may have, or some were killed for that.
    pub fn is_out_of_memory(&self) -> bool {
        let (file, words): (_, &[&str]) = match self.version {
            Version::One => ("memory.oom_control", &["under_oom", "oom_kill"]),
            Version::Two => ("memory.events", &["oom_kill"]),
        };
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().filter_map(|line| line.split_once(' ')).any(|(word, value)| words.contains(&word) && value != "0")
    }

    /// The most that they have taken together, in bytes.
    pub fn peak(&self) -> Option<u64> {
        let file = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..REMOVAL.0 {
            match fs::remove_dir(&self.folder) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(REMOVAL.1),
                // What a task has left running keeps it: the next one of ours removes it.
                _ => return,
            }
        }
    }
}

/// What was made by processes that are no more, and holds none.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten().take(SWEPT_MOST) {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Still in use is fine.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Of which kind the folder is, if memory can be bounded in groups below it.
fn version(folder: &Path) -> Option<Version> {
    if folder.join("memory.limit_in_bytes").exists() {
        return Some(Version::One);
    }
    let handed_down = fs::read_to_string(folder.join("cgroup.subtree_control")).ok()?;
    handed_down.split_ascii_whitespace().any(|word| word == "memory").then_some(Version::Two)
}

/// The folder of the group that bounds our own memory.
fn own_folder() -> Option<PathBuf> {
    let (groups, mounts) = (fs::read_to_string("/proc/self/cgroup").ok()?, fs::read("/proc/self/mountinfo").ok()?);
    folder_of(&groups, &mounts)
}

/// The same, by what `/proc` says: `groups` are lines of hierarchy, controllers and path; the hierarchy without controllers
/// is that of v2.
fn folder_of(groups: &str, mounts: &[u8]) -> Option<PathBuf> {
    let mut lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    let of_memory = lines.clone().find(|(controllers, _)| controllers.split(',').any(|name| name == "memory"));
    let (controllers, path) = of_memory.or_else(|| lines.find(|(controllers, _)| controllers.is_empty()))?;
    mounts.split(|byte| *byte == b'\n').find_map(|line| below(line, !controllers.is_empty(), Path::new(path)))
}

/// The path in this mount, if it is one of the hierarchy that is looked for.
fn below(mount: &[u8], of_memory: bool, path: &Path) -> Option<PathBuf> {
    let fields: Vec<&[u8]> = mount.split(|byte| *byte == b' ').collect();
    let (root, point) = (fields.get(3)?, fields.get(4)?);
    // Optional fields end with a dash; then come kind, source and options.
    let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let (kind, options) = (fields.get(dash + 1)?, fields.get(dash + 3)?);
    let fits = match of_memory {
        true => *kind == b"cgroup" && options.split(|byte| *byte == b',').any(|option| option == b"memory"),
        false => *kind == b"cgroup2",
    };
    let as_path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let inside = path.strip_prefix(as_path(root)).ok()?;
    fits.then(|| as_path(point).join(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"22 1 0:20 / / rw - ext4 /dev/vda rw\n\
        30 22 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
        31 22 0:27 / /sys/fs/cgroup/memory rw,relatime shared:10 master:1 - cgroup cgroup rw,memory\n\
        32 22 0:28 /docker/a /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn our_own_group_is_found_in_either_version() {
        for (groups, folder) in [
            ("5:cpu:/\n4:memory:/a/b\n0::/", Some("/sys/fs/cgroup/memory/a/b")),
            ("4:hugetlb,memory:/\n", Some("/sys/fs/cgroup/memory")),
            ("0::/docker/a/b", Some("/sys/fs/cgroup/unified/b")),
            ("0::/elsewhere", None),
            ("3:cpu:/", None),
            ("", None),
        ] {
            assert_eq!(folder_of(groups, MOUNTS), folder.map(PathBuf::from), "{groups}");
        }
    }

    /// A folder with the files that a kernel would have in one of v2; what is written there is seen.
    #[test]
    fn a_group_of_the_second_version_is_limited_and_read_by_its_files() {
        let parent = tempfile::tempdir().unwrap();
        assert!(Group::make(Some(parent.path()), 1).is_none(), "no group at all");
        fs::write(parent.path().join("cgroup.subtree_control"), "cpu pids\n").unwrap();
        assert!(Group::make(Some(parent.path()), 1).is_none(), "memory is not handed down");
        fs::write(parent.path().join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        // Nobody has so high a pid.
        let left = parent.path().join("qd-4194305");
        fs::create_dir(&left).unwrap();

        let group = Group::make(Some(parent.path()), 1 << 20).unwrap();
        assert!(!left.exists(), "an empty group that nobody is left to remove is removed");
        let read = |name: &str| fs::read_to_string(group.folder.join(name)).unwrap();
        let set = ["memory.max", "memory.swap.max", "memory.oom.group"].map(read);
        assert_eq!(set, ["1048576", "0", "1"]);
        let write = |name: &str, text: &str| fs::write(group.folder.join(name), text).unwrap();
        assert!(!group.is_out_of_memory());
        write("memory.events", "low 0\nmax 7\noom 1\noom_kill 0\n");
        assert!(!group.is_out_of_memory(), "what was refused once may have been done without");
        write("memory.events", "low 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 1\n");
        write("memory.peak", "1048576\n");
        assert!(group.is_out_of_memory());
        assert_eq!(group.peak(), Some(1 << 20));
    }
}
