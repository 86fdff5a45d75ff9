//! The side of a topic that takes a stream of messages.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Sink;
use futures::future::BoxFuture;

use super::error::PublishError;
use super::{Published, Topic};

/// Publishes what is sent into it, one after the other, under one subject. Made by [`Topic::sink`].
///
/// It is ready for the next message when the one before is published: subscribers that make their publisher wait hold
/// the stream back. Closing it waits for the last, and does nothing to the topic.
///
/// # Errors
/// [`PublishError`] of a message comes from the next call, and with the message where it can be given back. The sink
/// can be used on.
#[must_use = "sinks do nothing unless something is sent into them"]
pub struct TopicSink<T: Send + Sync + 'static> {
    topic: Topic<T>,
    subject: Arc<str>,
    publishing: Option<BoxFuture<'static, Result<Published, PublishError<T>>>>,
}

impl<T: Send + Sync + 'static> TopicSink<T> {
    pub(super) fn new(topic: Topic<T>, subject: Arc<str>) -> Self {
        TopicSink {
            topic,
            subject,
            publishing: None,
        }
    }

    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PublishError<T>>> {
        let Some(publishing) = &mut self.publishing else {
            return Poll::Ready(Ok(()));
        };
        let published = ready!(publishing.as_mut().poll(cx));
        self.publishing = None;
        Poll::Ready(published.map(|_| ()))
    }
}

impl<T: Send + Sync + 'static> Sink<T> for TopicSink<T> {
    type Error = PublishError<T>;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_last(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, value: T) -> Result<(), Self::Error> {
        let (topic, subject) = (self.topic.clone(), Arc::clone(&self.subject));
        self.publishing = Some(Box::pin(
            async move { topic.publish(&subject, value).await },
        ));
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_last(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_last(cx)
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for TopicSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicSink")
            .field("topic", &self.topic)
            .field("subject", &self.subject)
            .field("is_publishing", &self.publishing.is_some())
            .finish()
    }
}
