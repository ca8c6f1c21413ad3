//! A theme of the user's own: read from a file, and read again when the file changes, so that a colour can be tried while the
//! console runs. Knows nothing of the model.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::theme::{Depth, Theme};

/// A theme is no longer than this, in bytes.
const MOST: u64 = 64 << 10;

/// Whether a theme was asked for by the path of its file, and not by its name.
pub fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".ron")
}

/// Reads the theme in a file. Its name is the file's.
///
/// # Errors
/// It cannot be read, or is no theme: names the file and the line.
pub fn read(path: &Path, depth: Depth) -> Result<Theme, String> {
    let name = path.display().to_string();
    let mut text = String::new();
    // Whoever opens a pipe waits for its writer, and the screen with it.
    let is_file = fs::metadata(path).map(|about| about.is_file());
    let read = match is_file {
        Ok(false) => return Err(format!("theme “{name}” is no file")),
        Ok(true) => File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text)),
        Err(error) => Err(error),
    };
    match read {
        Ok(_) if text.len() as u64 > MOST => Err(format!("theme “{name}” is longer than {MOST} bytes")),
        Ok(_) => Theme::parse(&name, &text, depth),
        Err(error) => Err(format!("theme “{name}” cannot be read: {error}")),
    }
}

/// Watches a theme's file.
pub struct ThemeFile {
    path: PathBuf,
    depth: Depth,
    seen: Option<(SystemTime, u64)>,
}

impl ThemeFile {
    /// From what it is like now.
    pub fn watch(path: &Path, depth: Depth) -> Self {
        Self { path: path.to_owned(), depth, seen: stamp(path) }
    }

    /// The theme by this name is that of the file.
    pub fn is(&self, name: &str) -> bool {
        self.path.display().to_string() == name
    }

    /// What is in it now, if it has changed since the last look. A file that is gone for a moment, as editors do it, is no
    /// change.
    pub fn look(&mut self) -> Option<Result<Theme, String>> {
        let now = stamp(&self.path)?;
        if self.seen == Some(now) {
            return None;
        }
        self.seen = Some(now);
        Some(read(&self.path, self.depth))
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let about = fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::Meaning;

    #[test]
    fn a_file_is_read_again_when_it_changes_and_wrong_ones_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mine.ron");
        assert!(read(&path, Depth::True).is_err_and(|why| why.contains("mine.ron") && why.contains("cannot be read")));
        assert!(read(folder.path(), Depth::True).is_err_and(|why| why.contains("is no file")));
        let write = |ink: &str| {
            let text = format!(r##"Theme(inherits: "dark", palette: {{ "red": "{ink}" }})"##);
            fs::write(&path, text).expect("it can be written");
        };
        write("#010203");
        let first = read(&path, Depth::True).expect("a theme");
        let mut file = ThemeFile::watch(&path, Depth::True);
        assert!(file.is(&first.name) && !file.is("dark"));
        assert!(file.look().is_none(), "nothing has changed");
        write("#0405060");
        assert!(file.look().expect("it has changed").is_err(), "no colour");
        write("#040506");
        let second = file.look().expect("it has changed").expect("a theme");
        assert!(first.of(Meaning::Bad) != second.of(Meaning::Bad));
        fs::remove_file(&path).expect("it is there");
        assert!(file.look().is_none(), "gone for a moment");
        assert!(is_path("mine.ron") && is_path("./mine") && !is_path("dark"));
    }
}
