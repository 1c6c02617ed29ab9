//! The parts that HTTP push and the admin page share: the form of answers and errors, bodies of JSON, and tokens.
//!
//! - `response`: the form of every answer; `error`: the errors that a caller gets,
//! - `body`: reads the JSON in a request's body, within limits,
//! - `token`: checks the token that a caller shows; `auth_failures`: wrong tokens, counted by address.
//!
//! It has no settings of its own: names of settings in its sentences come from those who call it.

mod auth_failures;
mod body;
pub mod error;
mod response;
mod token;

pub use body::{BodyLimits, read_json};
pub use error::{ApiError, ErrorKind};
pub use response::json;
pub use token::{MIN_TOKEN_LEN, TokenError, TokenGuard, TokenProblem};
