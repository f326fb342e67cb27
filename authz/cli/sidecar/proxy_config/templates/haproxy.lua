-- Asks the authz sidecar at {{ where }} about a request, for HAProxy 2.6 or newer.
-- Printed by `authz print-config haproxy --part lua`. It sets txn.authz_allowed, or answers what the client is to see.

local URL = {{ url }}
local DESTINATION = {{ destination }}
local TIMEOUT = 250   -- milliseconds

local function lines(txn, name)
    local found, number = {}, 0
    local values = txn.http:req_get_headers()[name]
    while values and values[number] do
        found[#found + 1] = values[number]
        number = number + 1
    end
    return found
end

local function first(headers, name)
    return headers and headers[name] and headers[name][0]
end

-- An answer of our own ends the request; nothing behind it is run.
local function answer(txn, status, content_type, reason, body)
    local reply = txn:reply{status = status, body = body or ""}
    if content_type then reply:add_header("Content-Type", content_type) end
    if reason then reply:add_header("X-Authz-Reason", reason) end
    txn:done(reply)
end

core.register_action("authz", {"http-req"}, function(txn)
    local application = txn:get_var("txn.authz_application")
    local headers = {
        ["host"] = {txn.f:req_fhdr("host") or ""},
        ["x-forwarded-host"] = {txn.f:req_fhdr("host") or ""},
        ["x-forwarded-method"] = {txn.f:method()},
        ["x-forwarded-uri"] = {txn.f:pathq() or txn.f:url()},
        ["x-request-id"] = {txn.f:req_hdr("x-request-id") or ""},
    }
{{ if by_chain }}
    local chain = lines(txn, "x-forwarded-for")
    chain[#chain + 1] = tostring(txn.f:src())   -- who connects is the last
    headers["x-forwarded-for"] = {table.concat(chain, ", ")}
{{ end }}
{{ if forwarded }}
    local source = tostring(txn.f:src())
    headers["forwarded"] = {source:find(":") and 'for="[' .. source .. ']"' or "for=" .. source}
{{ end }}
{{ if single }}
    headers[{{ client_header }}] = {tostring(txn.f:src())}
{{ end }}
{{ if attack_header }}
    headers[{{ attack_header }}] = lines(txn, {{ attack_header }})
{{ end }}
    local path = "/v1/forward"
{{ if by_header }}
    if application then headers[{{ application_header }}] = {application} end
{{ end }}
{{ if not by_header }}
    if application then path = path .. "/" .. application end
{{ end }}
    local request = {url = URL .. path .. "?details", headers = headers, timeout = TIMEOUT}
    if DESTINATION then request.dst = DESTINATION end
    local asked, response = pcall(function() return core.httpclient():get(request) end)
    if not asked or not response or not response.status then
        return answer(txn, 503)
    end
    for _, name in ipairs{"decision", "reason", "list", "entry"} do
        local value = first(response.headers, "x-authz-" .. name)
        if value then txn:set_var("txn.authz_" .. name, value) end
    end
    for variable, name in pairs{warnings = "warnings", dry_run = "dry-run"} do
        local value = first(response.headers, "x-authz-" .. name)
        if value then txn:set_var("txn.authz_" .. variable, value) end
    end
    local client = first(response.headers, "x-authz-client-address")
    if client then txn:set_var("txn.authz_client", client) end
    local named = first(response.headers, "x-authz-application")
    if named then txn:set_var("txn.authz_named", named) end
    -- Another server on the sidecar's port may answer 200, but not so.
    if response.status == 200 and first(response.headers, "x-authz-decision") == "allow" then
        return txn:set_var("txn.authz_allowed", true)
    end
    if response.status < 400 or response.status > 499 then
        return answer(txn, 503, nil, first(response.headers, "x-authz-reason"))
    end
    local reason = first(response.headers, "x-authz-reason")
    answer(txn, response.status, first(response.headers, "content-type"), reason, response.body)
end, 0)
