//! The pictures of the documentation: each is what the drawing code makes of the sample, so they are kept true by a test.
//! `QD_WRITE_DOCS=1 cargo test --lib the_pictures_of_the_docs` draws them anew.

use super::*;

const SIZE: (u16, u16) = (120, 36);
/// Ground and ink of a terminal, where a cell leaves them alone.
const DARK: ([u8; 3], [u8; 3]) = ([0x12, 0x14, 0x18], [0xd6, 0xd9, 0xdf]);
const LIGHT: ([u8; 3], [u8; 3]) = ([0xfa, 0xfa, 0xf7], [0x24, 0x26, 0x2b]);

/// The main screen after these keys.
fn main(size: (u16, u16), theme: &str, keys: &str) -> Buffer {
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(log.path(), sample::LOG).unwrap();
    let (mut model, mut sample, mut snapshot) = sample::model(size, theme, Depth::True);
    sample.log = Some(log.path().to_owned());
    model.jump_to(TaskId(if size.0 >= 150 { 15 } else { 16 }));
    model.tab = Tab::Why;
    settle(&mut sample, &mut model, &mut snapshot);
    Readers::default().serve(&mut sample, &mut model, &snapshot);
    for key in keys.split(' ').filter(|key| !key.is_empty()) {
        update(&mut model, Message::Key(keymap::parse(key)[0]), &snapshot);
        settle(&mut sample, &mut model, &mut snapshot);
    }
    drawn(&model, &snapshot)
}

fn of((model, snapshot): (Model, Arc<Snapshot>)) -> Buffer {
    drawn(&model, &snapshot)
}

fn all() -> Vec<(&'static str, String)> {
    let dark = |buffer: Buffer| svg::render(&buffer, DARK.0, DARK.1);
    let light = |buffer: Buffer| svg::render(&buffer, LIGHT.0, LIGHT.1);
    let log = |keys: &str| {
        let mut desk = log_desk(SIZE);
        desk.keys(keys);
        drawn(&desk.model, &desk.snapshot)
    };
    vec![
        ("main", dark(main(SIZE, "dark", ""))),
        ("main-light", light(main(SIZE, "light", ""))),
        ("main-colour-blind", dark(main(SIZE, "colour-blind", ""))),
        ("main-80x24", dark(main((80, 24), "dark", ""))),
        ("why", dark(main(SIZE, "dark", "w"))),
        ("palette", dark(main(SIZE, "dark", ":"))),
        ("timeline", dark(of(timeline(SIZE, "dark", Depth::True, "")))),
        ("graph", dark(of(graph(SIZE, "dark", Depth::True, LINK_SERVER, "")))),
        ("log", dark(log("/ s t e p <Enter>"))),
        ("log-beside", dark(log("t |"))),
        ("replay", dark(of(taped(SIZE)))),
    ]
}

#[test]
fn the_pictures_of_the_docs_are_of_the_screens_as_they_are() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screens");
    let pictures = all();
    if std::env::var_os("QD_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, picture) in &pictures {
            std::fs::write(folder.join(format!("{name}.svg")), picture).unwrap();
        }
    }
    for (name, picture) in &pictures {
        let stored = std::fs::read_to_string(folder.join(format!("{name}.svg"))).unwrap_or_default();
        assert!(stored == *picture, "docs/screens/{name}.svg is old: run this test with QD_WRITE_DOCS=1");
    }
    let docs = ["README.md", "docs/screens.md", "docs/logs.md"]
        .map(|file| std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = pictures.iter().any(|(picture, _)| name == format!("{picture}.svg"));
        assert!(known, "docs/screens/{name} is drawn by no test");
        assert!(docs.iter().any(|text| text.contains(&format!("screens/{name}"))), "{name} stands in no text");
    }
}
