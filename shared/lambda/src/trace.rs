//! A place in a trace in the two forms that are sent: AWS X-Ray's header (AWS X-Ray Developer Guide, "Concepts", tracing
//! header) and W3C's `traceparent` (W3C Trace Context, "Traceparent Header"). Lambda is told the first, a message of a
//! queue carries the second; both name the same trace, so that X-Ray, an OpenTelemetry collector and the log join.

/// Digits of a trace's id.
const ID: usize = 32;
/// Digits of it that are a time in X-Ray's form.
const TIME: usize = 8;
/// Digits of a segment's id.
const SEGMENT: usize = 16;

/// A place in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The trace: 32 hexadecimal digits in lower case.
    id: String,
    /// The segment that what follows belongs to: 16 of them. X-Ray's header may name none.
    parent: Option<String>,
    /// Whether the trace is kept.
    is_sampled: bool,
}

impl Trace {
    /// Reads X-Ray's header: `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`. Fields that it
    /// does not need may be there, in any order. None = it names no trace.
    pub fn of_xray(header: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut fields = header.split(';').filter_map(|field| field.trim().split_once('='));
            fields.find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        let (time, rest) = field("Root")?.strip_prefix("1-")?.split_once('-')?;
        if time.len() != TIME {
            return None;
        }
        let id = hexadecimal(&format!("{time}{rest}"), ID)?;
        let parent = field("Parent").and_then(|parent| hexadecimal(parent, SEGMENT));
        Some(Self { id, parent, is_sampled: field("Sampled") == Some("1") })
    }

    /// Reads a `traceparent`: `00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01`. Of a version that is newer the
    /// fields that this one has are read, as the specification asks. None = it is malformed.
    pub fn of_w3c(traceparent: &str) -> Option<Self> {
        let mut fields = traceparent.trim().split('-');
        let (version, id, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let is_version = version.len() == 2 && is_lower_hexadecimal(version) && version != "ff";
        if !is_version || (version == "00" && fields.next().is_some()) {
            return None;
        }
        if ![id, parent, flags].into_iter().all(is_lower_hexadecimal) || flags.len() != 2 {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let parent = Some(hexadecimal(parent, SEGMENT)?);
        Some(Self { id: hexadecimal(id, ID)?, parent, is_sampled: flags & 1 == 1 })
    }

    /// The trace as X-Ray names it, to look it up there: `1-5759e988-bd862e3fe1be46a994272793`.
    pub fn xray_id(&self) -> String {
        let (time, rest) = self.id.split_at(TIME);
        format!("1-{time}-{rest}")
    }

    /// The `traceparent` of what is sent from here. None where no segment is known: a `traceparent` must name one.
    pub fn traceparent(&self) -> Option<String> {
        let parent = self.parent.as_ref()?;
        Some(format!("00-{}-{parent}-{:02x}", self.id, u8::from(self.is_sampled)))
    }
}

/// The text in lower case, if it is so many hexadecimal digits, not all of them zero: that is what both forms call no id.
fn hexadecimal(text: &str, digits: usize) -> Option<String> {
    let is_id = text.len() == digits && text.bytes().all(|c| c.is_ascii_hexdigit()) && text.bytes().any(|c| c != b'0');
    is_id.then(|| text.to_ascii_lowercase())
}

fn is_lower_hexadecimal(text: &str) -> bool {
    text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the AWS X-Ray Developer Guide.
    const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    const W3C: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";

    #[test]
    fn the_two_forms_name_the_same_place() {
        let (xray, w3c) = (Trace::of_xray(XRAY).unwrap(), Trace::of_w3c(W3C).unwrap());
        assert_eq!(xray, w3c);
        assert_eq!(xray.traceparent().as_deref(), Some(W3C));
        assert_eq!(w3c.xray_id(), "1-5759e988-bd862e3fe1be46a994272793");
    }

    #[test]
    fn what_is_not_sampled_stays_so() {
        let header = XRAY.replace("Sampled=1", "Sampled=0");
        let sent = Trace::of_xray(&header).unwrap().traceparent().unwrap();
        assert_eq!(sent, W3C.replace("-01", "-00"));
        assert!(!Trace::of_w3c(&sent).unwrap().is_sampled);
        assert!(Trace::of_w3c(&W3C.replace("-01", "-03")).unwrap().is_sampled, "other flags are others'");
    }

    #[test]
    fn fields_of_xray_that_are_not_needed_may_be_there() {
        let header = "Self=1-67891234-12456789abcdef012345678;Sampled=?; Root=1-5759e988-bd862e3fe1be46a994272793";
        let trace = Trace::of_xray(header).unwrap();
        assert_eq!(trace.xray_id(), "1-5759e988-bd862e3fe1be46a994272793");
        assert_eq!(trace.traceparent(), None, "no segment is known");
        let later = format!("{XRAY};Lineage=1:a87bd80c:0");
        assert_eq!(Trace::of_xray(&later), Trace::of_xray(XRAY));
    }

    #[test]
    fn what_names_no_trace_is_none() {
        for header in [
            "",
            "Parent=53995c3f42cd8ad8",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "Root=1-5759e988-bd862e3fe1be46a99427279",
            "Root=1-5759e98-8bd862e3fe1be46a994272793",
            "Root=1-5759e988-bd862e3fe1be46a99427279g",
            "Root=1-00000000-000000000000000000000000",
        ] {
            assert_eq!(Trace::of_xray(header), None, "{header}");
        }
        for traceparent in [
            "",
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8",
            "00-5759E988BD862E3FE1BE46A994272793-53995c3f42cd8ad8-01",
            "00-00000000000000000000000000000000-53995c3f42cd8ad8-01",
            "00-5759e988bd862e3fe1be46a994272793-0000000000000000-01",
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-1",
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01-more",
            "ff-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        ] {
            assert_eq!(Trace::of_w3c(traceparent), None, "{traceparent}");
        }
        let newer = format!("{}-more", W3C.replacen("00", "cc", 1));
        assert_eq!(Trace::of_w3c(&newer), Trace::of_w3c(W3C));
    }
}
