-- hmac-v1 in Envoy: libcrypto through LuaJIT's FFI, the key prepared once. Envoy has no HMAC of its own.
local ffi = require "ffi"
ffi.cdef [[
typedef struct hmac_ctx_st HMAC_CTX;
const void *EVP_sha256(void);
HMAC_CTX *HMAC_CTX_new(void);
int HMAC_Init_ex(HMAC_CTX *ctx, const void *key, int len, const void *md, void *engine);
int HMAC_Update(HMAC_CTX *ctx, const char *data, size_t len);
int HMAC_Final(HMAC_CTX *ctx, unsigned char *md, unsigned int *len);
int CRYPTO_memcmp(const void *a, const void *b, size_t len);
]]
local C = ffi.load("@CRYPTO@")
local WINDOW = 300
local mac = ffi.new("unsigned char[32]")
local text = ffi.new("unsigned char[64]")
local digits = ffi.new("unsigned char[16]", { ("0123456789abcdef"):byte(1, 16) })
local length = ffi.new("unsigned int[1]")
local keys = {}

do
    local context = C.HMAC_CTX_new()
    assert(C.HMAC_Init_ex(context, "@KEY@", #"@KEY@", C.EVP_sha256(), nil) == 1)
    keys["@ID@"] = context
end

local function verified(headers)
    local id, timestamp = headers:get("x-service-id"), headers:get("x-service-timestamp")
    local signature = headers:get("x-service-signature")
    if not id or not timestamp or not signature or #signature ~= 64 then return false end
    local context, at = keys[id], tonumber(timestamp)
    if not context or not at or math.abs(os.time() - at) > WINDOW then return false end
    local path = headers:get(":path"):match("^[^?]*")
    local signed = id .. ":" .. headers:get(":method") .. ":" .. path .. ":" .. timestamp
    C.HMAC_Init_ex(context, nil, 0, nil, nil)
    C.HMAC_Update(context, signed, #signed)
    C.HMAC_Final(context, mac, length)
    for i = 0, 31 do
        text[2 * i] = digits[bit.rshift(mac[i], 4)]
        text[2 * i + 1] = digits[bit.band(mac[i], 15)]
    end
    if C.CRYPTO_memcmp(text, signature, 64) ~= 0 then return false end
    return true, id
end

function envoy_on_request(handle)
    local headers = handle:headers()
    local passes, id = verified(headers)
    if not passes then return handle:respond({ [":status"] = "401" }, "") end
    headers:replace("x-authenticated-service", id)
end
