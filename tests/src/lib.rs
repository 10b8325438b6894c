//! What several stories need: a function's real program, and what surrounds it in Lambda.

pub mod build;
pub mod runtime_api;
