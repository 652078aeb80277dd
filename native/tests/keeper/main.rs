//! The keeper as its users see it: a real mount, a real process, and a daemon of the tests' own.

mod cached;
mod commit;
mod life;
mod placeholder;
mod posix;
mod rights;
mod support;
