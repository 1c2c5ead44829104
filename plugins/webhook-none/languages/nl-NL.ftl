method = Geen authenticatie
notes = De gebeurtenis wordt ongewijzigd verstuurd. De ontvanger kan niet zien van wie ze komt, dus kies dit alleen in een vertrouwd netwerk of voor een adres dat niemand anders kent.
