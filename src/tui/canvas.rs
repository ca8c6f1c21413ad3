//! The screen without its terminal: the same keys, pictures and frames, drawn into a buffer. For measuring and for
//! pictures; knows nothing of where a frame goes. A task's log is not read here.

use std::sync::Arc;

use ratatui::buffer::Buffer;

use super::keymap::Key;
use super::model::{Model, Seek};
use super::update::{Message, Request, update};
use super::{Feed, Options, fresh, settle, view};
use crate::snapshot::Snapshot;

/// See the module.
pub struct Canvas {
    model: Model,
    snapshot: Arc<Snapshot>,
}

impl Canvas {
    /// A screen of this size (columns, rows) that has seen nothing yet.
    pub fn new(options: &Options, size: (u16, u16)) -> Self {
        Self { model: fresh(options, size), snapshot: Arc::default() }
    }

    /// Takes keys in as if they were typed. Commands are sent; what else would be asked of a terminal is not done.
    pub fn press(&mut self, feed: &mut dyn Feed, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            for request in update(&mut self.model, Message::Key(key), &self.snapshot) {
                if let Request::Send(command) = request {
                    feed.send(command);
                }
            }
            if self.model.queue.seek != Seek::Settled {
                settle(feed, &mut self.model, &mut self.snapshot);
            }
        }
    }

    /// Puts the queue's cursor on this row of all (the last if there are fewer); it is seen in the next frame.
    pub fn go_to(&mut self, row: usize) {
        self.model.point_at(row, &self.snapshot);
    }

    /// Asks for the newest picture and draws it over the whole buffer, which has the screen's size. Returns the picture.
    pub fn draw(&mut self, feed: &mut dyn Feed, buffer: &mut Buffer) -> &Snapshot {
        let tick = Message::Tick(feed.now(), self.model.ui_ms);
        update(&mut self.model, tick, &self.snapshot);
        settle(feed, &mut self.model, &mut self.snapshot);
        view::draw(&self.model, &self.snapshot, buffer);
        &self.snapshot
    }
}
