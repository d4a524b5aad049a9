//! A request to a webhook path, from its head to its answer: what the edge refuses by itself, the body, the intake's
//! verdict, the reply, one log line.

use bytes::Bytes;
use std::sync::Arc;
use tokio::time::timeout;

use super::body::{self, BodyFault};
use super::connection::Connection;
use super::forwarded;
use super::gate::Pass;
use super::reply::Reply;
use super::serve::{Arrived, Next, early};
use super::{Edge, date};
use crate::backend::RequestHead;
use crate::clock;
use crate::endpoint::Endpoint;
use crate::http1::head::{Fields, Framing};
use crate::intake::{self, Fate, Letter, Receipt};
use crate::outcome::Outcome;
