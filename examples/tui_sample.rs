//! Looks at the console without a runtime (for its builders).
use quarterdeck::tui;
fn main() {
    if let Ok(dir) = std::env::var("SVG") {
        return tui::sample::pictures(std::path::Path::new(&dir));
    }
    let log = std::env::temp_dir().join("qd-sample.log");
    let mut text = String::new();
    for i in 0..2000 {
        text += &format!("12:03:58 db: line {i} waiting for exclusive lock on schema v41\n");
    }
    text += "12:04:02 migrate: 3 of 7 steps applied\n12:04:11 \x1b[31mmigrate: step 4\x1b[0m  ALTER TABLE events …\n12:04:29 W slow statement 17.1 s \x1b]52;c;eA==\x07\n";
    std::fs::write(&log, text).unwrap();
    let mut feed = tui::sample::Sample::live(log);
    tui::terminal::install_panic_hook();
    let mut options =
        tui::Options::detect(std::env::var("QD_THEME").ok().as_deref(), |name| std::env::var(name).ok()).unwrap();
    options.ascii = std::env::var_os("QD_ASCII").is_some();
    let left = tui::run(&mut feed, options);
    println!("{left:?} {:?}", feed.left);
}
