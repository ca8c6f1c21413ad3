//! The token by which a client shows that it speaks for an attempt of a task: the task's number, the attempt's, and what only
//! the session could have made of the two. A task finds its own in `$QD_TOKEN`. It keeps honest programs from speaking for
//! others by mistake; whoever may read the memory of our processes may read it too.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Of a secret, in bytes.
pub const SECRET_BYTES: usize = 32;

/// What only the session knows, and consoles of it after this one.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// Of these bytes, if they are as many as there have to be.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The token of an attempt.
    pub fn token(&self, task: u32, attempt: u32) -> String {
        let mut text = format!("{task}.{attempt}.");
        for byte in &self.seal(task, attempt)[..16] {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// The task and the attempt that a token was made for.
    pub fn holder(&self, token: &str) -> Option<(u32, u32)> {
        let mut parts = token.splitn(3, '.');
        let (task, attempt) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let own = self.token(task, attempt);
        // As long for each wrong token: nobody learns by the time how much of it was right.
        let same = own.len() == token.len() && own.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0;
        same.then_some((task, attempt))
    }

    fn seal(&self, task: u32, attempt: u32) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(task.to_le_bytes());
        hash.update(attempt.to_le_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_attempt_in_its_own_session_alone() {
        let (one, other) = (Secret::of(&[7; 32]).unwrap(), Secret::of(&[8; 32]).unwrap());
        let token = one.token(3, 2);
        assert!(token.starts_with("3.2.") && token.len() == 4 + 32);
        assert_eq!(one.holder(&token), Some((3, 2)));
        assert_eq!(other.holder(&token), None);
        assert_eq!(one.holder(&token.replacen("3.2", "3.3", 1)), None);
        assert_eq!(one.holder(&token.replacen("3.2", "03.2", 1)), None);
        for text in ["", "3", "3.2", "3.2.", "x.y.z", "3.2.é", "4294967296.1.00"] {
            assert_eq!(one.holder(text), None, "{text}");
        }
        assert!(Secret::of(&[1; 31]).is_none());
    }
}
