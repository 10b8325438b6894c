//! keytide's Slack: messages as pure functions, and the client that sends them.
//!
//! Read in this order:
//! 1. [`messages`]: what is said of an event, to the channel and to the owner. All wording is there.
//! 2. [`text`]: how text that others wrote is made harmless.
//! 3. [`blocks`]: Block Kit, with Slack's limits in the constructors; [`check`] judges the result.
//! 4. [`Slack`]: sends a message and sorts what Slack answers by what is to be done about it.
//! 5. [`Post`]: the port underneath; [`WebApi`] is the real Slack.

pub mod blocks;
pub mod check;
mod client;
pub mod messages;
mod post;
pub mod text;
mod web;

pub use blocks::{Block, Message};
pub use client::{ErrorClass, Slack, SlackError};
pub use post::{Answer, Call, NoAnswer, Post, Token};
pub use web::{Said, WebApi, WebApiError};
