method = Channel manager
notes = Tells a sales channel about bookings, rooms and rates in the channel’s own format. What came from the channel itself is not sent back to it.
channel-id = Channel
channel-id-help = The id or name by which your system knows this channel. Changes that it marks with it are not sent.
channel-token = Access token
channel-token-help = From the channel. It is sent with every message (Bearer).
channel-properties = Properties
channel-properties-help = One per line: your number, an equals sign, the channel’s id, such as 7 = HTL-7. Other properties are not told to the channel.
channel-rooms = Rooms
channel-rooms-help = In the same way, such as 3 = DBL. Other rooms are left out. Leave it empty when the channel uses your numbers.
channel-tasks = Tasks that import from this channel
channel-tasks-help = Names, with spaces between. Changes that such a task of your system makes are not sent.
channel-token-format = The token holds spaces or other characters that cannot be sent. Perhaps they were copied along.
channel-line = Line { $line }: write your number, an equals sign and the channel’s id, such as 7 = HTL-7.
channel-line-twice = Line { $line } has a number that an earlier line has already. Keep one of the two.
