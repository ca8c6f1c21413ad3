//! `qd publish`: a task says what it publishes while it runs. No console is needed: what is said is kept beside the attempt.

use std::path::Path;

use serde_json::Value;

use super::args::Publish;
use crate::care::said::{self, Said, VARIABLE};
use crate::error::{Error, Result};

/// `qd publish`.
pub fn publish(args: &Publish) -> Result<i32> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else {
        let hint = "it is for the commands of a task that declares it: publishes: { \"n\": Publish(Int) }";
        return Err(Error::usage("no task publishes by this").hint(hint));
    };
    let said = args.values.iter().map(|(name, text)| {
        let json = serde_json::from_str::<Value>(text).ok().filter(|value| !value.is_object() && !value.is_null());
        Said { name: name.clone(), text: Some(text.clone()), value: json.unwrap_or_else(|| text.as_str().into()) }
    });
    said::add(Path::new(&path), &said.collect::<Vec<_>>())
        .map_err(|error| Error::usage(format!("not published: {error}")))?;
    Ok(0)
}
