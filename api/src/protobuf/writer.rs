//! Protobuf's wire format, written. Knows no message.

/// Collects the fields of a message.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// One that has something already.
    #[must_use]
    pub fn starting_with(bytes: &[u8]) -> Self {
        Self {
            out: bytes.to_vec(),
        }
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// A field of bytes, text or a message.
    pub fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.open(number, bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// What stands before the `len` bytes of such a field, which the caller adds.
    pub fn open(&mut self, number: u32, len: usize) {
        self.tag(number, 2);
        self.raw_varint(len as u64);
    }

    /// A number. Negative ones take ten bytes, as Go writes them.
    pub fn integer(&mut self, number: u32, value: i64) {
        self.tag(number, 0);
        self.raw_varint(value.cast_unsigned());
    }

    /// A floating-point number.
    pub fn double(&mut self, number: u32, value: f64) {
        self.tag(number, 1);
        self.out.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    fn tag(&mut self, number: u32, kind: u8) {
        self.raw_varint(u64::from(number) << 3 | u64::from(kind));
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}
