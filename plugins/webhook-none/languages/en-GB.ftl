method = No authentication
notes = The event is sent as it is. The receiver cannot tell who sent it, so choose this only for a trusted network or an address that nobody else knows.
