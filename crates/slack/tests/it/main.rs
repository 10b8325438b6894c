//! What keytide says on Slack, and how it says it there.

#[cfg(test)]
mod client;
#[cfg(test)]
mod events;
#[cfg(test)]
mod goldens;
#[cfg(test)]
mod hostile;
