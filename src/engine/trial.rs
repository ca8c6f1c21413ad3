//! Several commands tried one after the other on a copy of the State: what can be done of them, what that comes to and what
//! takes it back, before anything of it is noted. Knows nothing of why each can be done.

use super::decide::intend;
use super::fact::{Fact, Stamped};
use super::message::{Command, Refusal};
use super::state::{State, Tally};
use super::subworkflow;

/// Commands of one that were refused are tried so often.
const MAX_ROUNDS_OF_TRIALS: usize = 64;

/// What several commands came to.
pub(super) struct Tried {
    /// Those that can be.
    pub done: Vec<Command>,
    /// What takes each back, if all can be.
    pub inverses: Option<Vec<Vec<Command>>>,
    /// Why the first was refused of those that were.
    pub refusal: Option<Refusal>,
}

/// A copy of the State on which several commands are tried one after the other.
pub(super) struct Trial {
    pub state: State,
    facts: Vec<Fact>,
}

impl Trial {
    pub fn on(state: &State) -> Self {
        Self { state: state.clone(), facts: Vec::new() }
    }

    /// Tries one more; returns what takes it back.
    pub fn go(&mut self, command: &Command) -> Result<Option<Command>, Refusal> {
        let intent = intend(&self.state, command)?;
        for fact in &intent.facts {
            self.state.apply(&Stamped { at: self.state.now, fact: fact.clone() });
        }
        self.facts.extend(intent.facts);
        Ok(intent.inverse)
    }

    /// Tries each, and what is refused once more as long as that helps, from the other end.
    pub fn go_each(&mut self, commands: Vec<Command>) -> Tried {
        let mut tried = Tried { done: Vec::new(), inverses: Some(Vec::new()), refusal: None };
        let mut open = commands;
        for _ in 0..MAX_ROUNDS_OF_TRIALS {
            let before = open.len();
            let mut refused = Vec::new();
            tried.refusal = None;
            for command in open {
                match self.go(&command) {
                    Ok(inverse) => {
                        match (inverse, &mut tried.inverses) {
                            (Some(inverse), Some(inverses)) => inverses.push(flat(inverse)),
                            _ => tried.inverses = None,
                        }
                        tried.done.push(command);
                    }
                    Err(why) => {
                        tried.refusal.get_or_insert(why);
                        refused.push(command);
                    }
                }
            }
            // Only this can be refused for what another of them changes.
            let may_help = refused.iter().any(|command| matches!(command, Command::Unskip { .. }));
            if refused.len() == before || !may_help {
                break;
            }
            refused.reverse();
            open = refused;
        }
        tried
    }

    /// What they come to together. The copy is gone then: what is written next is not shared with it.
    pub fn facts(self) -> Vec<Fact> {
        self.facts
    }
}

/// What a command would come to.
#[derive(Debug, Clone)]
pub struct Would {
    /// So many parts of it can be done.
    pub done: usize,
    /// So many cannot, and why the first of them cannot.
    pub refused: Option<(usize, Refusal)>,
    /// It can be taken back.
    pub returns: bool,
    /// How many tasks are shown how, before.
    pub before: Tally,
    /// And after, as far as that is known at once.
    pub after: Tally,
}

/// What this would come to now. Nothing is done.
pub fn would(state: &State, command: &Command) -> Would {
    let each = match command {
        Command::All(commands) => spread(state, commands),
        one => spread(state, std::slice::from_ref(one)),
    };
    let asked = each.len();
    let mut trial = Trial::on(state);
    let tried = trial.go_each(each);
    let refused = asked - tried.done.len();
    Would {
        done: tried.done.len(),
        refused: tried.refusal.filter(|_| refused > 0).map(|why| (refused, why)),
        returns: tried.inverses.is_some(),
        before: state.counts,
        after: trial.state.counts,
    }
}

/// Each command, and those on a subworkflow as what they are to all of it.
pub(super) fn spread(state: &State, commands: &[Command]) -> Vec<Command> {
    let mut each = Vec::with_capacity(commands.len());
    for command in commands {
        match subworkflow::spread(state, command) {
            Some(list) => each.extend(list.unwrap_or_default()),
            None => each.push(command.clone()),
        }
    }
    each
}

/// Its parts.
pub(super) fn flat(command: Command) -> Vec<Command> {
    match command {
        Command::All(commands) => commands,
        one => vec![one],
    }
}
