//! Places that clients keep and hand back: ids, names, page tokens, cursors. Any text is refused or understood; what is
//! understood is written again as it was meant, and a token that was made is always accepted.

use gangline::grpc::convert::page::from_list_jobs;
use gangline::grpc::convert::seed::from_cursor_name;
use gangline::grpc::convert::tail::from_get_updates;
use gangline::job::id::JobId;
use gangline::job::id::QueueName;
use gangline::job::id::StoreId;
use gangline::proto::v1;

/// Takes the text as each of them.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    if let Ok(id) = text.parse::<JobId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        a_token_comes_back(id, &text);
    }
    if let Some(id) = bytes.first_chunk::<16>() {
        let id = JobId::from_u128(u128::from_be_bytes(*id));
        assert_eq!(id.to_string().parse::<JobId>().is_ok(), id.to_string().parse() == Ok(id));
        a_token_comes_back(id, "");
    }
    if let Ok(name) = text.parse::<QueueName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(name) = from_cursor_name(Some(&text)) {
        assert_eq!(*name, *text);
    }
    let request = v1::ListJobsRequest { page_token: text.clone(), ..Default::default() };
    if let Ok((wanted, tokens)) = from_list_jobs(&request, StoreId([7; 16]))
        && !text.is_empty()
    {
        assert_eq!(tokens.token(wanted.after), text, "only what was made is accepted");
    }
    if let Ok(cursor) = <v1::Cursor as prost::Message>::decode(bytes) {
        let after = Some(v1::get_updates_request::After::Cursor(cursor));
        drop(from_get_updates(v1::GetUpdatesRequest { after, ..Default::default() }));
    }
}

fn a_token_comes_back(id: JobId, queue: &str) {
    let mut request = v1::ListJobsRequest { queue: queue.to_owned(), ..Default::default() };
    let Ok((_, tokens)) = from_list_jobs(&request, StoreId([7; 16])) else { return };
    request.page_token = tokens.token(id);
    let (wanted, _) = from_list_jobs(&request, StoreId([7; 16])).expect("we made it");
    assert_eq!(wanted.after, id);
}
