method = User name and password
notes = Every request carries the user name and the password (HTTP Basic authentication). Use an https address, so that nobody on the way can read them.
basic-username = User name
basic-username-help = The name that the receiver gave you. It cannot contain a colon.
basic-username-colon = The user name cannot contain a colon.
basic-password = Password
basic-password-help = Sent exactly as you write it here, spaces included.
