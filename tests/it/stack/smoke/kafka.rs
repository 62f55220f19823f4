//! The broker keeps messages as they are, also through an outage.

use super::super::{Kafka, Message, kafka, require};

#[tokio::test]
async fn a_message_comes_back_as_it_was_sent() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let kafka = kafka().await?;
    kafka.create_topic("smoke", 3).await?;
    let headers = [("ce_type", "a"), ("ce_type", "b=c")];
    kafka.produce("smoke", "key", &headers, "{\n\"two\": \"lines\" }").await?;

    let messages = kafka.consume("smoke").await?;
    let partition = messages.first().map_or(-1, |message| message.partition);
    assert!((0..3).contains(&partition), "{messages:?}");
    let sent = Message {
        partition,
        offset: 0,
        key: Some("key".into()),
        headers: headers.map(|(name, value)| (name.into(), value.into())).into(),
        value: Some("{\n\"two\": \"lines\" }".into()),
    };
    assert_eq!(messages, [sent]);
    Ok(())
}

#[tokio::test]
async fn the_broker_stops_and_comes_back_with_its_messages() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let mut kafka = Kafka::launch().await?;
    kafka.produce("kept", "key", &[], "before").await?;
    kafka.stop();
    tokio::net::TcpStream::connect(&kafka.bootstrap).await.expect_err("a stopped broker has no socket");
    kafka.start().await?;
    kafka.freeze()?;
    kafka.thaw()?;
    kafka.produce("kept", "key", &[], "after").await?;
    let values: Vec<_> =
        kafka.consume("kept").await?.into_iter().filter_map(|message| message.value).collect();
    assert_eq!(values, ["before", "after"]);
    Ok(())
}
