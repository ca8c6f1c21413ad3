//! One look of a sensor: at a file, a port, a URL, or by a command. Says what it saw in a few words; a look never fails, it
//! sees that something is not as it should be. Knows nothing of when it looks.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Entry, Shared, process};
use crate::engine::definition::Probe;

/// What a look saw.
pub struct Glimpse {
    /// It is as it should be.
    pub met: bool,
    /// In a few words.
    pub saw: String,
    /// What later looks compare with.
    pub mark: Option<String>,
}

/// Looks once.
pub fn look(shared: &Shared, entry: &Entry) -> Glimpse {
    let sensor = &entry.watch.sensor;
    let patience = Duration::from_millis(sensor.patience.0);
    let (met, saw) = match &sensor.probe {
        Probe::Exists(path) => exists(&shared.folder.join(path)),
        Probe::Changed(path) => return changed(&shared.folder.join(path), entry.mark.as_deref()),
        Probe::Tcp(address) => tcp(address, patience),
        Probe::Command(command) => process::exits_well(shared, entry, command, patience),
        Probe::Http(url, wanted) => http(url, *wanted, patience),
    };
    Glimpse { met, saw, mark: None }
}

fn exists(path: &Path) -> (bool, String) {
    match std::fs::metadata(path) {
        Ok(_) => (true, "there".into()),
        Err(error) => (false, missing(&error)),
    }
}

fn missing(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "not there".into(),
        _ => error.to_string(),
    }
}

/// The mark of a file that is not there.
const ABSENT: &str = "absent";

/// It is compared with how it was at the first look. While it is gone it has not changed yet: many programs put a new file
/// in the place of an old one.
fn changed(path: &Path, mark: Option<&str>) -> Glimpse {
    let found = match std::fs::metadata(path) {
        Ok(meta) => Ok(format!("{}.{:09} {} {}", meta.mtime(), meta.mtime_nsec(), meta.size(), meta.ino())),
        Err(error) => Err(missing(&error)),
    };
    let now = found.as_deref().unwrap_or(ABSENT);
    let kept = mark.unwrap_or(now).to_owned();
    let (met, saw) = match &found {
        Ok(now) if kept == *now => (false, "unchanged".into()),
        Ok(_) => (true, "changed".into()),
        Err(_) if kept != ABSENT => (false, "gone".into()),
        Err(why) => (false, why.clone()),
    };
    Glimpse { met, saw, mark: Some(kept) }
}

fn tcp(address: &str, patience: Duration) -> (bool, String) {
    let until = Instant::now() + patience;
    let addresses = match address.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return (false, error.to_string()),
    };
    let mut saw = "no such host".to_owned();
    for address in addresses {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (false, too_long(patience));
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return (true, "takes connections".into()),
            Err(error) if error.kind() == ErrorKind::TimedOut => saw = too_long(patience),
            Err(error) => saw = plain(&error),
        }
    }
    (false, saw)
}

fn http(url: &str, wanted: (u16, u16), patience: Duration) -> (bool, String) {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        // What is asked for is the answer of this URL, whatever it is.
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("quarterdeck/", env!("CARGO_PKG_VERSION")))
        .build();
    match ureq::Agent::new_with_config(config).get(url).call() {
        Ok(answer) => {
            let status = answer.status().as_u16();
            ((wanted.0..=wanted.1).contains(&status), format!("status {status}"))
        }
        Err(ureq::Error::Timeout(_)) => (false, too_long(patience)),
        Err(ureq::Error::Io(error)) => (false, plain(&error)),
        Err(error) => (false, error.to_string()),
    }
}

/// Without the error's number.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        _ => error.to_string(),
    }
}

/// One look may take so long.
pub fn too_long(patience: Duration) -> String {
    let ms = patience.as_millis();
    if ms.is_multiple_of(1000) {
        format!("took longer than {}s", ms / 1000)
    } else {
        format!("took longer than {ms}ms")
    }
}
